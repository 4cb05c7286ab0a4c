import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import type { Config, Environment } from '../config.ts';
import { isByHand, isCancelled, messageOf, SetupError } from '../errors.ts';
import { readJson, writeWhole } from '../storage/files.ts';
import { proveFlashAttn } from './flash-proof.ts';
import { requireRoom } from './room.ts';
import {
  type Found,
  type Made,
  missing,
  type Ready,
  type Report,
  ready,
  type Step,
  skipped,
} from './step.ts';
import { buildAside } from './switch.ts';
import { requireUv, runUv } from './uv.ts';
import {
  bringWheel,
  versionOf,
  type WheelPatience,
  type WheelSource,
  wheelSource,
} from './wheel.ts';

/** The wheel for Python 3.12, torch 2.8 and CUDA 12, from the release page. */
const WHEEL =
  'https://github.com/Dao-AILab/flash-attention/releases/download/v2.8.3/' +
  'flash_attn-2.8.3+cu12torch2.8cxx11abiTRUE-cp312-cp312-linux_x86_64.whl';

/** The wheel is 256 MB, and what it holds about a gigabyte. */
const BYTES = 1.3e9;

/** uv copies a gigabyte out of the wheel; on a slow volume that takes minutes. */
const INSTALL_LIMIT_MS = 1_800_000;

/** A worker that starts does not pay for the same failure as the one before it. */
const AGAIN_AFTER_MS = 3_600_000;

/** Why it is not there when nobody has said that it failed: it is being installed, or who did was killed. */
const UNFINISHED = 'was not finished';

/** What is known of the wheel of a source: `flash-attn/wheel.json`. */
const noteSchema = z.object({
  /** Without credentials. */
  source: z.string(),
  /** Of the first that came from there; another one is not taken. */
  sha256: z.string().optional(),
  version: z.string().optional(),
  failure: z.object({ reason: z.string(), at: z.number() }).optional(),
});
type Note = z.infer<typeof noteSchema>;

interface FlashAttnOptions {
  config: Config;
  env: Environment;
  signal?: AbortSignal | undefined;
  patience?: WheelPatience | undefined;
}

/**
 * The step that installs flash-attn, beside the venv and not into it: what its wheel breaks, if it does, is not
 * what was proven. Without it the model runs on torch's own attention, so its failure is told and survived.
 *
 * The model process compares the kernel with torch's own at every load (`attention.py`); here the same is done
 * once, where there is a GPU.
 */
export function flashAttnStep(options: FlashAttnOptions): Step {
  const { config } = options;
  const dir = path.join(config.workspace, 'flash-attn');
  const theSource = () => wheelSource(config.flashAttn === 'auto' ? WHEEL : config.flashAttn);
  return {
    name: 'flash-attn',
    optional: true,
    async check() {
      if (config.flashAttn === 'off') return ready('off');
      if (config.flashAttn === 'auto' && !hasNvidiaGpu()) return ready('not needed: no NVIDIA GPU');
      return await look(dir, theSource());
    },
    async make(made, report) {
      const source = theSource();
      const note = await readNote(dir, source);
      return await make({ ...options, dir, source, note, made, report });
    },
  };
}

async function look(dir: string, source: WheelSource): Promise<Found> {
  const note = await readNote(dir, source);
  const folder = folderOf(dir, note);
  if (folder !== null && existsSync(folder)) {
    return ready(`flash-attn ${note.version}`, { flashAttn: folder });
  }
  const { failure } = note;
  // Clocks differ: what failed in the future did not fail just now.
  if (failure && Math.abs(Date.now() - failure.at) < AGAIN_AFTER_MS) {
    const again = new Date(failure.at + AGAIN_AFTER_MS).toISOString();
    return skipped(`${failure.reason} (tried again after ${again})`);
  }
  return missing(`flash-attn from ${source.shown}`);
}

async function make(options: Install): Promise<Ready> {
  const { dir, note, signal } = options;
  try {
    const installed = await install(options);
    return ready(`flash-attn ${installed.version}`, { flashAttn: folderOf(dir, installed) });
  } catch (error) {
    if (isCancelled(error)) {
      // Who has broken it off by hand may run it again. A worker that is stopped does not come back to finish it.
      if (isByHand(signal)) await noteOrTell(options, note);
      throw error;
    }
    const failure = { reason: messageOf(error), at: Date.now() };
    await noteOrTell(options, { ...note, failure });
    throw new SetupError(`torch's own attention instead: ${failure.reason}`, { cause: error });
  }
}

/** The driver's device, which the container runtime puts there; asking torch would take seconds. */
export function hasNvidiaGpu(): boolean {
  return existsSync('/dev/nvidiactl');
}

function folderOf(dir: string, { sha256, version }: Note): string | null {
  return sha256 && version ? path.join(dir, `${version}-${sha256.slice(0, 12)}`) : null;
}

interface Install extends FlashAttnOptions {
  dir: string;
  source: WheelSource;
  note: Note;
  made: Made;
  report: Report;
}

async function install(options: Install): Promise<Note> {
  const { dir, source, note, report } = options;
  const version = versionOf(source);
  await mkdir(dir, { recursive: true });
  await requireRoom(dir, BYTES);
  const downloads = path.join(dir, '.download.partial');
  const wheel = path.join(downloads, source.name);
  try {
    await mkdir(downloads, { recursive: true });
    // Before anything that takes long: of a process that is killed nothing else is left, and each worker after it
    // would be killed at the same. All of it takes less than the hour that this counts.
    await writeNote(dir, { ...note, failure: { reason: UNFINISHED, at: Date.now() } });
    report(`getting ${source.shown}`);
    await bringWheel(source, wheel, options);
    const sha256 = await digestOf(wheel);
    if (note.sha256 !== undefined && note.sha256 !== sha256) {
      throw new Error(
        `${source.shown} is another file than at first: sha256 ${sha256}, not ${note.sha256}. If that is right,` +
          ` remove ${path.join(dir, 'wheel.json')}`,
      );
    }
    const known: Note = { source: source.shown, sha256, version };
    await buildAside(folderOf(dir, known) ?? '', (aside) => fill(aside, wheel, options));
    await writeNote(dir, known);
    return known;
  } finally {
    await rm(downloads, { recursive: true, force: true });
  }
}

async function fill(aside: string, wheel: string, options: Install): Promise<void> {
  const { config, env, made, report, signal } = options;
  const uv = await requireUv(config, signal);
  const target = ['--python', made.python, '--no-deps', '--target', aside, wheel];
  const { failed, stderr, shortMessage } = await runUv(
    uv,
    ['pip', 'install', '--quiet', ...target],
    { config, env, timeout: INSTALL_LIMIT_MS, signal },
  );
  if (failed) throw new Error(stderr.trim() || shortMessage);
  report('proving it against torch');
  const proof = await proveFlashAttn({ config, env, python: made.python, folder: aside, signal });
  if (!proof.works) throw new Error(proof.what);
  report(proof.what);
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

async function readNote(dir: string, { shown }: WheelSource): Promise<Note> {
  const parsed = noteSchema.safeParse(await readJson(path.join(dir, 'wheel.json')));
  return parsed.success && parsed.data.source === shown ? parsed.data : { source: shown };
}

async function writeNote(dir: string, note: Note): Promise<void> {
  await writeWhole(path.join(dir, 'wheel.json'), `${JSON.stringify(note, null, 2)}\n`);
}

async function noteOrTell({ dir, report }: Install, note: Note): Promise<void> {
  try {
    await writeNote(dir, note);
  } catch (fault) {
    report(`what came of it cannot be noted: ${messageOf(fault)}`);
  }
}
