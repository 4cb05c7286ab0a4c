import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { cp, mkdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { EnvHttpProxyAgent, fetch } from 'undici';
import { z } from 'zod';
import { PYTHON_ROOT } from '../app.ts';
import type { Config } from '../config.ts';
import { isCancelled, messageOf, SetupError } from '../errors.ts';
import { readJson, writeWhole } from '../storage/files.ts';
import { runProgram } from './program.ts';
import { requireRoom } from './room.ts';
import { type Made, missing, type Report, ready, type Step } from './step.ts';
import { buildAside } from './switch.ts';
import { requireUv, uvEnvironment } from './uv.ts';

/** The wheel for Python 3.12, torch 2.8 and CUDA 12, from the release page. */
const WHEEL =
  'https://github.com/Dao-AILab/flash-attention/releases/download/v2.8.3/' +
  'flash_attn-2.8.3+cu12torch2.8cxx11abiTRUE-cp312-cp312-linux_x86_64.whl';

/** The wheel is 256 MB, and what it holds about a gigabyte. */
const BYTES = 1.3e9;

/** A worker that starts does not pay for the same failure as the one before it. */
const AGAIN_AFTER_MS = 3_600_000;

/** What is known of the wheel of a source: `flash-attn/wheel.json`. */
const noteSchema = z.object({
  source: z.string(),
  /** Of the first that came from there; another one is not taken. */
  sha256: z.string().optional(),
  version: z.string().optional(),
  failure: z.object({ reason: z.string(), at: z.number() }).optional(),
});
type Note = z.infer<typeof noteSchema>;

interface FlashAttnOptions {
  config: Config;
  signal?: AbortSignal | undefined;
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
  const source = config.flashAttn === 'auto' ? WHEEL : config.flashAttn;
  const without = (why: string) => ready(why, { flashAttn: null });
  return {
    name: 'flash-attn',
    optional: true,
    async check() {
      if (config.flashAttn === 'off') return without('off');
      if (config.flashAttn === 'auto' && !hasNvidiaGpu())
        return without('not needed: no NVIDIA GPU');
      const note = await readNote(dir, source);
      const folder = folderOf(dir, note);
      if (folder !== null && existsSync(folder)) {
        return ready(`flash-attn ${note.version}`, { flashAttn: folder });
      }
      const { failure } = note;
      if (failure === undefined || Date.now() - failure.at > AGAIN_AFTER_MS) {
        return missing(`flash-attn from ${source}`);
      }
      return without(`not installed: ${failure.reason}`);
    },
    async make(made, report) {
      const note = await readNote(dir, source);
      try {
        const installed = await install({ ...options, dir, source, note, made, report });
        return ready(`flash-attn ${installed.version}`, { flashAttn: folderOf(dir, installed) });
      } catch (error) {
        if (isCancelled(error)) throw error;
        const failure = { reason: messageOf(error), at: Date.now() };
        await writeNote(dir, { ...note, failure });
        throw new SetupError(`torch's own attention instead: ${failure.reason}`, { cause: error });
      }
    },
  };
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
  source: string;
  note: Note;
  made: Made;
  report: Report;
}

async function install(options: Install): Promise<Note> {
  const { config, dir, source, note, made, report, signal } = options;
  await mkdir(dir, { recursive: true });
  await requireRoom(dir, BYTES);
  const uv = await requireUv(config, signal);
  const downloads = path.join(dir, '.download.partial');
  const wheel = path.join(downloads, wheelName(source));
  try {
    await mkdir(downloads, { recursive: true });
    report(`getting ${source}`);
    await bring(source, wheel, signal);
    const sha256 = await digestOf(wheel);
    if (note.sha256 !== undefined && note.sha256 !== sha256) {
      throw new Error(
        `${source} is another file than at first: sha256 ${sha256}, not ${note.sha256}. If that is right,` +
          ` remove ${path.join(dir, 'wheel.json')}`,
      );
    }
    const known: Note = { source, sha256, version: wheelName(source).split('-')[1] ?? '' };
    const folder = folderOf(dir, known) ?? '';
    await buildAside(folder, async (aside) => {
      const target = ['--python', made.python, '--no-deps', '--target', aside, wheel];
      const installed = await runProgram(uv, ['pip', 'install', ...target], {
        env: uvEnvironment(config),
        signal,
      });
      if (installed.failed) throw new Error(installed.stderr.trim());
      report('proving it against torch');
      const proof = await proveFlashAttn(made.python, aside, signal);
      if (!proof.works) throw new Error(proof.what);
      report(proof.what);
    });
    await writeNote(dir, known);
    return known;
  } finally {
    await rm(downloads, { recursive: true, force: true });
  }
}

/** What pip reads name, version and platform from. */
function wheelName(source: string): string {
  const name = source.split(/[/\\]/).at(-1) ?? '';
  return decodeURIComponent(name.split(/[?#]/)[0] ?? '');
}

async function bring(source: string, file: string, signal: AbortSignal | undefined): Promise<void> {
  if (!/^https?:/.test(source)) {
    await cp(source.replace(/^file:\/\//, ''), file);
    return;
  }
  const dispatcher = new EnvHttpProxyAgent();
  const response = await fetch(source, { dispatcher, ...(signal && { signal }) }).catch((error) => {
    throw new Error(`${source} cannot be fetched: ${messageOf(error.cause ?? error)}`);
  });
  if (!response.ok || response.body === null) {
    throw new Error(`${source} answered ${response.status} ${response.statusText}`);
  }
  await pipeline(response.body, createWriteStream(`${file}.part`), { ...(signal && { signal }) });
  await rename(`${file}.part`, file);
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

/** Import it as the model process will, and run it against torch's own where there is CUDA. */
export async function proveFlashAttn(
  python: string,
  folder: string,
  signal?: AbortSignal,
): Promise<{ works: boolean; what: string }> {
  const { failed, stderr, stdout } = await runProgram(
    python,
    ['-P', '-m', 'lotus_worker.flash_proof'],
    { env: { PYTHONPATH: [PYTHON_ROOT, folder].join(path.delimiter) }, signal },
  );
  if (!failed) return { works: true, what: stdout.trim() };
  return { works: false, what: stderr.trim().split('\n').at(-1) || 'it does not run' };
}

async function readNote(dir: string, source: string): Promise<Note> {
  const parsed = noteSchema.safeParse(await readJson(path.join(dir, 'wheel.json')));
  return parsed.success && parsed.data.source === source ? parsed.data : { source };
}

async function writeNote(dir: string, note: Note): Promise<void> {
  await writeWhole(path.join(dir, 'wheel.json'), `${JSON.stringify(note, null, 2)}\n`);
}
