/** The hub's own client, in processes of the venv's Python. */
import path from 'node:path';
import { PYTHON_ROOT } from '../app.ts';
import type { Config, Environment } from '../config.ts';
import { childEnvironment } from '../environment.ts';
import { diagnose, type Fault, unreachable } from './hub-faults.ts';
import { jsonOfLastLine } from './last-line.ts';
import { runProgram } from './program.ts';
import {
  bytesIn,
  bytesThere,
  type Listing,
  listingSchema,
  repositoryFolder,
  sizeOf,
} from './snapshot.ts';
import type { Progress } from './step.ts';

/**
 * What a checkpoint needs and nothing else: safetensors, JSON and the tokenizer's merges.txt; no pickles, which
 * run code when they are opened.
 */
const CHECKPOINT_EXTENSIONS = ['.safetensors', '.json', '.txt'];
const CHECKPOINT_FILES = CHECKPOINT_EXTENSIONS.map((extension) => `*${extension}`);

export function isCheckpointFile(name: string): boolean {
  return CHECKPOINT_EXTENSIONS.includes(path.extname(name));
}

/** How long it is waited for what may never come, in milliseconds. */
export interface Patience {
  /** Between two looks at how much there is. */
  look: number;
  /** Without there being more. */
  stall: number;
  /** After a try that broke off. */
  pause: number;
}
export const PATIENCE: Patience = { look: 1_000, stall: 180_000, pause: 2_000 };

export interface ClientOptions {
  config: Config;
  env: Environment;
  /** The venv's Python. */
  python: string;
  progress: Progress;
  signal?: AbortSignal | undefined;
  patience?: Patience | undefined;
}

/** Ask the hub what it has of a revision that a checkpoint needs. */
export async function listFiles(
  options: ClientOptions,
  revision: string,
): Promise<Listing | { fault: Fault }> {
  const script = path.join(PYTHON_ROOT, 'lotus_worker', 'hub_files.py');
  const args = [script, options.config.model.id, revision, ...CHECKPOINT_FILES];
  const ran = await runClient(options, args);
  if ('fault' in ran) return ran;
  const parsed = listingSchema.safeParse(jsonOfLastLine(ran.stdout));
  if (parsed.success) return parsed.data;
  const what = 'the hub gave a list of files that cannot be. Check HF_ENDPOINT.';
  return { fault: { what, mayPass: false, cause: parsed.error } };
}

/** Run `hf download` for a commit. That it ends well does not say that the hub was there. */
export async function fetchFiles(
  options: ClientOptions,
  listing: Listing,
): Promise<{ fault: Fault } | { stdout: string }> {
  const what = [options.config.model.id, '--revision', listing.commit];
  return await runClient(
    options,
    ['-m', 'huggingface_hub.cli.hf', 'download', ...what, '--include', ...CHECKPOINT_FILES],
    listing,
  );
}

async function runClient(
  options: ClientOptions,
  args: readonly string[],
  listing?: Listing,
): Promise<{ fault: Fault } | { stdout: string }> {
  const { config, env, python, signal, patience = PATIENCE } = options;
  const stalled = new AbortController();
  const watch = watchGrowth(options, stalled, patience, listing);
  try {
    const { failed, stdout, stderr } = await runProgram(python, ['-I', ...args], {
      env: {
        ...childEnvironment(config, env),
        HF_HUB_DISABLE_XET: '1',
        HF_HUB_DISABLE_PROGRESS_BARS: '1', // it counts files, of which one has most of the bytes
        HF_HUB_OFFLINE: '0', // what that asks for is done before
        // The token goes here, and nowhere else.
        ...(env.HF_TOKEN && { HF_TOKEN: env.HF_TOKEN }),
      },
      onlyThisEnv: true,
      endsWithUs: true,
      signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal,
    });
    return failed ? { fault: diagnose(stderr) } : { stdout };
  } catch (error) {
    if (!stalled.signal.aborted || signal?.aborted) throw error;
    return { fault: unreachable(`nothing came for ${patience.stall / 1000} s`) };
  } finally {
    clearInterval(watch);
  }
}

/** Tell from time to time how much there is, and give up on a client that stands still. */
function watchGrowth(
  { config, progress }: ClientOptions,
  stalled: AbortController,
  patience: Patience,
  listing: Listing | undefined,
): NodeJS.Timeout {
  const repository = repositoryFolder(config.hubCache, config.model.id);
  let last = 0;
  let since = performance.now();
  const look = async () => {
    const bytes = await bytesIn(path.join(repository, 'blobs'));
    if (bytes !== last) since = performance.now();
    last = bytes;
    if (listing) progress('downloading', await bytesThere(repository, listing), sizeOf(listing));
    if (performance.now() - since > patience.stall) stalled.abort();
  };
  return setInterval(() => void look(), patience.look);
}
