import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa, execaSync } from 'execa';
import { onTestFinished } from 'vitest';
import { APP_ROOT } from '../../src/app.ts';

const MAIN = path.join(APP_ROOT, 'src', 'cli', 'main.ts');

/** The sample images, which are a JPEG, a WebP and two PNGs. */
export const IMAGES = path.join(APP_ROOT, 'test', 'fixtures', 'images');

/** `script`, of util-linux, runs a command on a terminal of its own. */
export const hasTerminal = !execaSync('script', ['-qec', 'true', '/dev/null'], { reject: false })
  .failed;

/** A folder of the test's own. */
export async function temporaryFolder(): Promise<string> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'cli-test-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** A scratch folder of the test's own, so that what is left in it is this test's doing. */
export async function scratchFolder(): Promise<string> {
  const dir = path.join(await temporaryFolder(), 'scratch');
  await mkdir(dir);
  return dir;
}

/** Start the command line, the real one, on the sample unless the environment says otherwise. */
export function start(
  args: readonly string[],
  env: Record<string, string> = {},
  cwd = os.tmpdir(),
) {
  return execa(process.execPath, [MAIN, ...args], { ...options(env, cwd), stdin: 'ignore' });
}

/** The same, as part of a pipe: bytes go in by standard input, and bytes come out. */
export function filter(args: readonly string[], input: Uint8Array, cwd = os.tmpdir()) {
  return execa(process.execPath, [MAIN, ...args], {
    ...options({}, cwd),
    input,
    encoding: 'buffer',
  });
}

function options(env: Record<string, string>, cwd: string) {
  return { cwd, reject: false, env: { LOTUS_SAMPLE: '1', NO_COLOR: '1', ...env } } as const;
}

/** The rows of `--json`. */
export function rows(stdout: string): Record<string, unknown>[] {
  return stdout.split('\n').map((line) => JSON.parse(line));
}

export async function digest(file: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(file))
    .digest('hex');
}
