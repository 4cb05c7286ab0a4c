import path from 'node:path';
import type { Config } from '../config.ts';
import { SetupError } from '../errors.ts';
import { runProgram } from './program.ts';

/** The oldest that knows all we ask of it; `bootstrap` gets a newer one where there is none. */
const OLDEST: readonly [number, number] = [0, 8];

/** uv keeps to the workspace: its cache is gigabytes, and a container's own disk is small. */
export function uvEnvironment(config: Config): Record<string, string> {
  return {
    UV_CACHE_DIR: config.uvCache,
    UV_PYTHON_INSTALL_DIR: path.join(config.workspace, 'pythons'),
    ...(!process.stderr.isTTY && { UV_NO_PROGRESS: '1' }), // it takes no empty one
  };
}

/**
 * The uv to install with, seen to run.
 *
 * @throws SetupError when there is none, or too old a one.
 */
export async function requireUv(config: Config, signal?: AbortSignal): Promise<string> {
  const uv = config.uv ?? 'uv';
  const { failed, stdout, shortMessage } = await runProgram(uv, ['--version'], { signal });
  const advice = 'Start by ./bootstrap, which gets one, or install uv, or set LOTUS_UV to it.';
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
