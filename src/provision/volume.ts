import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Config } from '../config.ts';
import { SetupError } from '../errors.ts';
import { freeBytes, gigabytes } from './room.ts';
import { missing, ready, type Step } from './step.ts';

/** Folders that every workspace has. `venv` and `src` are links, made by their steps. */
const FOLDERS = ['upstream', 'cache', 'models', 'output_images', 'logs'];

/** The step that provides the workspace itself, where it may be. */
export function volumeStep(config: Config): Step {
  const { path: dir, mount, fault } = config.location;
  const where = mount ? `${dir} on ${mount.point} (${mount.filesystem})` : dir;
  return {
    name: 'volume',
    async check() {
      if (fault !== null) throw new SetupError(fault);
      const there = await Promise.all(FOLDERS.map((name) => isFolder(path.join(dir, name))));
      if (there.includes(false)) return missing(`folders in ${where}`);
      return ready(`${where}, ${gigabytes(await freeBytes(dir))} free`);
    },
    async make() {
      for (const name of FOLDERS) await mkdir(path.join(dir, name), { recursive: true });
      return ready(`${where}, ${gigabytes(await freeBytes(dir))} free`);
    },
  };
}

async function isFolder(file: string): Promise<boolean> {
  return await stat(file).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
