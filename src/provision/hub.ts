/**
 * Downloads from the hub, by its own client, `hf download`. Of which one must know (0.36.2, found by running it):
 *
 * - it exits with 0 when it could not ask the hub and has some of the files, so what there is must be looked at;
 * - it compares sizes and never contents, so they are checked here: its cache names a file by its digest;
 * - it does not try again when a connection drops in the middle of a file, and goes on from there when it is run
 *   again; what it keeps are whole steps of 10 MiB;
 * - it waits for ever for an answer to its first question, so one that stands still is ended and run again;
 * - its faster protocol, Xet, cannot go on from where it was, and is switched off.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, realpath, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config, Environment } from '../config.ts';
import { childEnvironment } from '../environment.ts';
import { cancelled, LotusError } from '../errors.ts';
import { checkpointFault } from './checkpoint.ts';
import { runProgram } from './program.ts';
import { gigabytes } from './room.ts';
import type { Report } from './step.ts';

/**
 * What a checkpoint needs and nothing else: safetensors, JSON and the tokenizer's merges.txt; no pickles, which
 * run code when they are opened.
 */
const CHECKPOINT_FILES = ['*.safetensors', '*.json', '*.txt'];

/** Tries in a row that brought nothing, before it is given up, and the pause after each. */
const ATTEMPTS = 3;
const PAUSE_MS = 2_000;

/** How long it is waited for what may never come, in milliseconds. */
export interface Patience {
  /** Between two looks at how much there is. */
  look: number;
  /** Without there being more. */
  stall: number;
}
const PATIENCE: Patience = { look: 10_000, stall: 180_000 };

export interface Download {
  config: Config;
  env: Environment;
  /** The venv's Python. */
  python: string;
  /** A branch, a tag or a commit. */
  requested: string;
  report: Report;
  signal?: AbortSignal | undefined;
  patience?: Patience | undefined;
}

/** Where a hub cache keeps a model; a move of the whole folder does it no harm. */
export function repositoryFolder(cache: string, id: string): string {
  return path.join(cache, `models--${id.replaceAll('/', '--')}`);
}

/**
 * Download a model to the hub's cache. What an interrupted download has left is used.
 *
 * @returns the folder of the snapshot, which is named by its commit; every file in it is what the hub has.
 * @throws LotusError `model_unavailable` saying what to do, or `cancelled`.
 */
export async function download(options: Download): Promise<string> {
  const { config, requested, report, signal } = options;
  const blobs = path.join(repositoryFolder(config.hubCache, config.model.id), 'blobs');
  let vain = 0;
  while (true) {
    const before = await bytesIn(blobs);
    const fault = await tryOnce(options, blobs);
    if (typeof fault === 'string') return fault;
    vain = (await bytesIn(blobs)) > before ? 0 : vain + 1;
    if (!fault.mayPass || vain === ATTEMPTS) {
      throw new LotusError(
        'model_unavailable',
        `Cannot download ${config.model.id}, ${requested}: ${fault.what}`,
        { cause: fault.cause },
      );
    }
    report(`it broke off (${fault.what}); going on`);
    await sleep(PAUSE_MS, undefined, { ...(signal && { signal }) }).catch(() => {
      throw cancelled();
    });
  }
}

/** The folder of a whole snapshot, or why there is none. */
async function tryOnce(options: Download, blobs: string): Promise<string | Fault> {
  const { failed, stdout, stderr } = await runClient(options, blobs);
  if (failed) {
    const fault = diagnose(stderr);
    if (fault.isLeftover) await removeUnfinished(blobs);
    return fault;
  }
  const folder = stdout.trim().split('\n').at(-1) ?? '';
  const damaged = await removeDamaged(folder, options.report);
  if (damaged !== null) {
    return { what: `${damaged} was damaged on its way, and was removed`, mayPass: true };
  }
  const fault = await checkpointFault(folder);
  if (fault === null) return folder;
  // Only one that has asked the hub counts the files.
  if (!/Fetching \d+ files/.test(stderr)) return { what: NO_NETWORK, mayPass: true };
  return { what: `it is no checkpoint: ${fault}. Check MODEL_ID.`, mayPass: false };
}

async function runClient(options: Download, blobs: string) {
  const { config, env, python, requested, report, signal, patience = PATIENCE } = options;
  const stalled = new AbortController();
  const watch = watchGrowth(blobs, report, stalled, patience);
  const what = [config.model.id, '--revision', requested, '--include', ...CHECKPOINT_FILES];
  try {
    return await runProgram(python, ['-I', '-m', 'huggingface_hub.cli.hf', 'download', ...what], {
      env: {
        ...childEnvironment(config, env),
        HF_HUB_DISABLE_XET: '1',
        // The token goes here, and nowhere else.
        ...(env.HF_TOKEN && { HF_TOKEN: env.HF_TOKEN }),
      },
      onlyThisEnv: true,
      showProgress: true,
      signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal,
    });
  } catch (error) {
    if (!stalled.signal.aborted || signal?.aborted) throw error;
    return {
      failed: true,
      stdout: '',
      stderr: `Error: nothing came for ${patience.stall / 1000} s`,
    };
  } finally {
    clearInterval(watch);
  }
}

/** Say from time to time how much there is, and give up on a download that stands still. */
function watchGrowth(
  blobs: string,
  report: Report,
  stalled: AbortController,
  patience: Patience,
): NodeJS.Timeout {
  let last = 0;
  let since = performance.now();
  const look = async () => {
    const bytes = await bytesIn(blobs);
    if (bytes !== last) since = performance.now();
    // On a terminal the client draws a bar.
    if (bytes > last && !process.stderr.isTTY) report(`${gigabytes(bytes)} so far`);
    last = bytes;
    if (performance.now() - since > patience.stall) stalled.abort();
  };
  return setInterval(() => void look(), patience.look);
}

/** The bytes of the files in a folder; of what goes away meanwhile, none. */
export async function bytesIn(dir: string): Promise<number> {
  const names = await readdir(dir).catch(() => []); // nothing yet
  const sizes = await Promise.all(
    names.map((name) =>
      stat(path.join(dir, name)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** What a killed download leaves is asked on from, and the hub refuses that when it is longer than the file. */
async function removeUnfinished(blobs: string): Promise<void> {
  for (const name of await readdir(blobs)) {
    if (name.endsWith('.incomplete')) await rm(path.join(blobs, name), { force: true });
  }
}

/**
 * Read every file of a snapshot and compare it with the digest that the hub's cache names it by: large files'
 * SHA-256, others' as git has it.
 *
 * @returns the name of one that is damaged, and has been removed, so that it is fetched again; null if none is.
 */
async function removeDamaged(folder: string, report: Report): Promise<string | null> {
  const names = await readdir(folder, { recursive: true }).catch(() => []); // the hub had none of them
  report('checking what there is');
  for (const name of names) {
    const blob = await realpath(path.join(folder, name)).catch(() => null);
    if (blob === null || !(await stat(blob)).isFile()) continue; // a link to nothing: what is lacking is found
    if (await isAsNamed(blob)) continue;
    await rm(blob);
    return name;
  }
  return null;
}

async function isAsNamed(blob: string): Promise<boolean> {
  const digest = path.basename(blob);
  const algorithm = { 64: 'sha256', 40: 'sha1' }[/^[0-9a-f]*$/.test(digest) ? digest.length : 0];
  if (algorithm === undefined) return true; // where there are no links, files have their own names
  const hash = createHash(algorithm);
  if (algorithm === 'sha1') hash.update(`blob ${(await stat(blob)).size}\0`);
  await pipeline(createReadStream(blob, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex') === digest;
}

interface Fault {
  /** What it was, and what to do. */
  what: string;
  /** Whether trying again can help. */
  mayPass: boolean;
  /** Whether what an earlier download left is to blame. */
  isLeftover?: boolean;
  cause?: Error;
}

/** What the client's errors mean for the operator, the most telling first. */
const FAULTS: readonly { sign: RegExp; what: string }[] = [
  {
    sign: /GatedRepoError/,
    what: 'it is gated. Ask for access on its page, and set HF_TOKEN to a token of an account that has it.',
  },
  {
    sign: /Invalid credentials in Authorization header/,
    what: 'the hub does not take the token. Set HF_TOKEN to one that is valid, or unset it.',
  },
  {
    sign: /RevisionNotFoundError/,
    what: 'it has no such revision. Set MODEL_REVISION to a branch, tag or commit of it, or unset it.',
  },
  {
    sign: /RepositoryNotFoundError/,
    what: 'the hub has no model of that name, or it is private. Check MODEL_ID; for a private one set HF_TOKEN.',
  },
  {
    sign: /HFValidationError/,
    what: 'that is no name on the hub. Set MODEL_ID to `organisation/name`, or to the path of a checkpoint folder.',
  },
  {
    sign: /\[Errno (28|122)\]/,
    what: 'the disk is full. Free some room, or set WORKSPACE to a larger volume; it goes on from where it was.',
  },
  {
    sign: /\[Errno (13|30)\]/,
    what: 'its cache cannot be written to. Prepare the volume where it can, or set HF_HOME to a folder that can.',
  },
  {
    sign: /\[Errno (37|95)\]/,
    what: 'the file system of its cache has no locks. Set HF_HOME to a folder on another one.',
  },
];

const NO_NETWORK =
  'the hub cannot be reached. Check the network (HTTPS_PROXY and HF_ENDPOINT, if you use them) and run it again:' +
  ' it goes on from where it was. Or set MODEL_ID to the path of a checkpoint folder.';

function diagnose(stderr: string): Fault {
  const cause = new Error(stderr.trim().slice(-4000));
  const known = FAULTS.find(({ sign }) => sign.test(stderr));
  if (known) return { what: known.what, mayPass: false, cause };
  if (/416 Client Error/.test(stderr)) {
    return {
      what: 'what was left of an earlier download was of no use',
      mayPass: true,
      isLeftover: true,
      cause,
    };
  }
  const [line = ''] = stderr.match(/^[\w.]*(Error|Exception): .*$/gm)?.slice(-1) ?? [];
  const said = `${line.replace(/^[\w.]*\.(?=\w+: )/, '').slice(0, 300)}`;
  const isNetwork =
    /LocalEntryNotFoundError|ConnectionError|ChunkedEncodingError|Timeout|nothing came|(429|50\d) .*Error/;
  if (isNetwork.test(stderr)) return { what: `${NO_NETWORK} (${said})`, mayPass: true, cause };
  return { what: said || 'the client failed without a word', mayPass: true, cause };
}
