import { randomUUID } from 'node:crypto';
import { access, constants, mkdir, rm, stat, symlink } from 'node:fs/promises';
import path from 'node:path';
import type { Config } from '../config.ts';
import { SetupError } from '../errors.ts';
import { describeFree } from './room.ts';
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
      return ready(`${where}, ${await describeFree(dir)}`);
    },
    async make() {
      for (const name of FOLDERS) await mkdir(path.join(dir, name), { recursive: true });
      await requireLinks(dir, where);
      return ready(`${where}, ${await describeFree(dir)}`);
    },
  };
}

/** Whether a workspace is mounted so that nobody can write to it. */
export async function isReadOnly(workspace: string): Promise<boolean> {
  return await access(workspace, constants.W_OK).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'EROFS',
  );
}

/** Venvs are full of symbolic links, and so is the hub's cache; FAT and some network shares hold none. */
async function requireLinks(dir: string, where: string): Promise<void> {
  const probe = path.join(dir, `.${randomUUID()}.partial`);
  try {
    await symlink('models', probe);
    await stat(probe);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (['ENOSPC', 'EDQUOT', 'EACCES', 'EROFS'].includes(code)) throw error;
    throw new SetupError(
      `${where} holds no symbolic links (${code}), which the packages need. Set WORKSPACE to a folder on another` +
        ' file system.',
    );
  } finally {
    await rm(probe, { force: true });
  }
}

async function isFolder(file: string): Promise<boolean> {
  return await stat(file).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
