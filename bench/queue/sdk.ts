import { access, mkdir, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';

/** Outside the checkout, so that a second run need not install anything. */
const CACHE = path.join(
  process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'),
  'lotus-worker',
  'bench',
);

/**
 * A venv of the benchmark's own with RunPod's SDK. torch and what else the model needs come from the worker's venv, so
 * that both sides run the same.
 *
 * @returns its Python.
 */
export async function sdkPython(uv: string, python: string, version: string): Promise<string> {
  const venv = path.join(CACHE, `runpod-${version}`);
  const own = path.join(venv, 'bin', 'python');
  const stamp = path.join(venv, 'ready');
  const isThere = await access(stamp).then(
    () => true,
    () => false,
  );
  if (isThere) return own;
  await mkdir(CACHE, { recursive: true });
  await execa(uv, ['venv', '--clear', '--python', python, venv]);
  await execa(uv, ['pip', 'install', '--python', own, `runpod==${version}`]);
  const sitePackages = 'import sysconfig; print(sysconfig.get_path("purelib"))';
  const { stdout: ours } = await execa(own, ['-c', sitePackages]);
  const { stdout: theirs } = await execa(python, ['-c', sitePackages]);
  await writeFile(path.join(ours, 'worker.pth'), `${theirs}\n`); // after its own, so these come first
  await writeFile(stamp, '');
  return own;
}
