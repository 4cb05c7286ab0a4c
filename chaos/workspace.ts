import { mkdir, mkdtemp, readdir, readlink, rm, symlink } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { readConfig } from '../src/config.ts';
import { processesOf, send } from './processes.ts';

/** A workspace of a run's own. */
export interface Workspace {
  /** It is in the environment of every process that works in it. */
  readonly dir: string;
  readonly outputs: string;
  readonly spool: string;
  readonly scratch: string;
  /** The venv's interpreter. */
  readonly python: string;
  /** Ends whatever still works in it, and removes it. */
  remove(): Promise<void>;
}

/** Make a workspace in the temporary folder. The packages are those of the usual one: nothing is installed. */
export async function makeWorkspace(): Promise<Workspace> {
  const dir = path.join(await mkdtemp(path.join(os.tmpdir(), 'lotus-chaos-')), 'Lotus');
  const ours = readConfig(process.env).workspace;
  const venv = path.basename(await readlink(path.join(ours, 'venv')));
  const scratch = path.join(dir, 'scratch');
  const venvs = path.join(dir, 'venvs');
  for (const folder of [venvs, scratch]) await mkdir(folder, { recursive: true });
  await symlink(path.join(ours, 'venvs', venv), path.join(venvs, venv));
  const outputs = path.join(dir, 'output_images');
  return {
    dir,
    outputs,
    spool: path.join(outputs, '.spool'),
    scratch,
    python: path.join(venvs, venv, 'bin', 'python'),
    remove: async () => {
      for (const { pid } of await processesOf(dir)) send(pid, 'SIGKILL');
      await rm(path.dirname(dir), { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** The files below a folder, by their paths in it; none where there is no folder. */
export async function filesIn(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.relative(dir, path.join(entry.parentPath, entry.name)));
}
