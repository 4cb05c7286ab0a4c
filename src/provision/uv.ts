import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Config, Environment } from '../config.ts';
import { childEnvironment } from '../environment.ts';
import { SetupError } from '../errors.ts';
import { runProgram } from './program.ts';

/** The oldest that knows all we ask of it; `bootstrap` gets a newer one where there is none. */
const OLDEST: readonly [number, number] = [0, 8];

/**
 * What of uv's own settings is the operator's to say: where packages come from, and how. The others, and what
 * lies about in configuration files, would change what is made: UV_LINK_MODE=copy, say, doubles it.
 */
const OPERATORS = new RegExp(
  [
    '^UV_(DEFAULT_INDEX|INDEX|INDEX_.*|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|KEYRING_PROVIDER|CREDENTIALS_DIR)$',
    '^UV_(OFFLINE|HTTP_.*|REQUEST_TIMEOUT|CONCURRENT_.*|NATIVE_TLS|SYSTEM_CERTS|INSECURE_HOST)$',
    '^UV_(PYTHON_INSTALL_MIRROR|PYTHON_DOWNLOADS_JSON_URL)$',
    '^(ALL_PROXY|all_proxy|NETRC|SSL_CLIENT_CERT)$',
  ].join('|'),
);

/** uv answers that in milliseconds; what takes longer is a shim that hangs. */
const VERSION_LIMIT_MS = 30_000;

/** 7 GB take that long on a line of 16 Mbit/s, and the next run goes on from uv's cache. */
const LIMIT_MS = 3_600_000;

/** All that uv gets to know. It keeps to the workspace: its cache is gigabytes, and a container's disk is small. */
export function uvEnvironment(
  config: Config,
  env: Environment = process.env,
): Record<string, string> {
  const given = Object.entries(env).filter(
    (entry): entry is [string, string] => Boolean(entry[1]) && OPERATORS.test(entry[0]),
  );
  return {
    ...childEnvironment(config, env),
    ...Object.fromEntries(given),
    UV_NO_CONFIG: '1',
    UV_CACHE_DIR: config.uvCache,
    UV_PYTHON_INSTALL_DIR: path.join(config.workspace, 'pythons'),
    ...(!process.stderr.isTTY && { UV_NO_PROGRESS: '1' }), // it takes no empty one
  };
}

interface UvOptions {
  config: Config;
  env: Environment;
  /** Show its progress on a terminal. */
  showProgress?: boolean;
  /** Gets the lines of its standard error as they come. */
  onLine?: (line: string) => void;
  /** Milliseconds that it may take. Default: an hour, for nobody waits under the lock for ever. */
  timeout?: number;
  signal?: AbortSignal | undefined;
}

/**
 * Run uv in the workspace, where no project of somebody's is about. How it ended is in the result.
 *
 * @throws LotusError `cancelled`.
 */
export async function runUv(
  uv: string,
  args: readonly string[],
  { config, env, ...options }: UvOptions,
) {
  await mkdir(config.workspace, { recursive: true });
  return await runProgram(uv, args, {
    timeout: LIMIT_MS,
    ...options,
    cwd: config.workspace,
    env: uvEnvironment(config, env),
    onlyThisEnv: true,
    endsWithUs: true,
  });
}

/**
 * The uv to install with, seen to run.
 *
 * @throws SetupError when there is none, too old a one, or one that hangs.
 */
export async function requireUv(
  config: Config,
  signal?: AbortSignal,
  timeout = VERSION_LIMIT_MS,
): Promise<string> {
  const wanted = config.uv ?? 'uv';
  const uv = wanted.includes(path.sep) ? path.resolve(wanted) : wanted; // it runs elsewhere
  const { failed, stdout, shortMessage } = await runProgram(uv, ['--version'], {
    env: uvEnvironment(config),
    onlyThisEnv: true,
    timeout,
    signal,
  });
  const advice = './bootstrap bootstrap gets one; or install uv, or set LOTUS_UV to it.';
  if (failed) {
    throw new SetupError(`uv is needed to install the Python packages: ${shortMessage}. ${advice}`);
  }
  const [major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(stdout) ?? []).slice(1).map(Number);
  const isOld = major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]);
  if (!isOld) return uv;
  throw new SetupError(
    `${uv} is ${stdout.trim()}; ${OLDEST.join('.')} or newer is needed. ${advice}`,
  );
}
