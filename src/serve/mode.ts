import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Environment } from '../config.ts';
import { messageOf, UsageError } from '../errors.ts';
import { type Platform, PlatformError, readPlatform } from '../runpod/platform.ts';

/** The flags that say what is served; those with `rp_` are the official SDK's. */
export interface ServeFlags {
  http?: boolean;
  host?: string;
  port?: number;
  rp_serve_api?: boolean;
  rp_api_host?: string;
  rp_api_port?: number;
  test_input?: string;
}

/** Where jobs come from. */
export type Mode =
  | { readonly kind: 'queue'; readonly platform: Platform }
  | { readonly kind: 'test'; readonly job: Record<string, unknown> }
  | HttpMode;

export interface HttpMode {
  readonly kind: 'http';
  readonly host: string;
  readonly port: number;
  /** Whether it was asked for, or is what is left. */
  readonly isAskedFor: boolean;
}

/** The official SDK's. */
const PORT = 8000;
/** So that nobody else can reach it unless told otherwise. */
const HOST = '127.0.0.1';

/** The file that the official SDK runs where there is no queue. */
const TEST_INPUT = 'test_input.json';

/**
 * Where jobs are to come from: what a flag says, else the platform's queue, else a job in `test_input.json`, else the
 * local API, so that a container that was started off the platform does not exit and start again for ever.
 *
 * @param cwd where `test_input.json` may be.
 * @throws UsageError when a flag, the platform's environment or the test job is wrong.
 */
export async function chooseMode(flags: ServeFlags, env: Environment, cwd: string): Promise<Mode> {
  const api: HttpMode = {
    kind: 'http',
    isAskedFor: Boolean(flags.http || flags.rp_serve_api),
    host: flags.host ?? flags.rp_api_host ?? HOST,
    port: flags.port ?? flags.rp_api_port ?? PORT,
  };
  if (api.isAskedFor) return api;
  if (flags.test_input !== undefined) return testJob(flags.test_input, '--test_input');
  const platform = platformOf(env);
  if (platform !== null) return { kind: 'queue', platform };
  const file = path.join(cwd, TEST_INPUT);
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw new UsageError(`${file} cannot be read: ${messageOf(error)}`);
  });
  return text === null ? api : testJob(text, file);
}

function platformOf(env: Environment): Platform | null {
  try {
    return readPlatform(env);
  } catch (error) {
    if (error instanceof PlatformError) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

function testJob(text: string, from: string): Mode {
  const job = parse(text, from);
  if (typeof job === 'object' && job !== null && 'input' in job && job.input !== null) {
    return { kind: 'test', job: { ...job } };
  }
  throw new UsageError(`${from} is no job: it must be an object with an input, {"input": {...}}.`);
}

function parse(text: string, from: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // Node's message quotes the text, and there may be a key in it.
    throw new UsageError(`${from} is no JSON.`, { cause: error });
  }
}
