import { lstat, mkdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { flushFolder } from './files.ts';
import { isWithin } from './inside.ts';

/** Where a workspace's pictures lie. */
export const OUTPUTS = 'output_images';

/**
 * The folder of a workspace's pictures, which is made where it is missing. It may be a link, but only to a place inside
 * of the workspace: whoever can put a link onto a volume must not have files written and removed elsewhere.
 *
 * @returns its path without links.
 * @throws an error that says so, or the system's.
 */
export async function outputFolder(workspace: string): Promise<string> {
  const dir = path.join(workspace, OUTPUTS);
  if (await mkdir(dir, { recursive: true })) await flushFolder(workspace);
  const [root, real] = await Promise.all([realpath(workspace), realpath(dir)]);
  if (real !== root && isWithin(root, real)) return real;
  throw new Error(`${dir} leads to ${real}, which is outside of ${root}: nothing is done there`);
}

/**
 * A folder below another, made level by level, none of which is a link. What is made survives a loss of power.
 *
 * @param root without links.
 * @throws an error that names the level that is none of ours, or the system's.
 */
export async function folderBelow(root: string, ...names: string[]): Promise<string> {
  const dir = path.join(root, ...names);
  if (await isReal(dir)) return dir;
  let level = root;
  for (const name of names) {
    level = path.join(level, name);
    if (await makeFolder(level)) await flushFolder(path.dirname(level));
    if ((await lstat(level)).isDirectory()) continue;
    throw new Error(`${level} is no folder of ours, but a link or a file: remove it`);
  }
  return dir;
}

/** @returns false when there is something already. */
async function makeFolder(dir: string): Promise<boolean> {
  try {
    await mkdir(dir);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Whether there is something at a path without links on the way to it or in its place.
 *
 * @throws the system's error where that cannot be known, as on a volume that has gone away.
 */
export async function isReal(file: string): Promise<boolean> {
  try {
    return (await realpath(file)) === file;
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    // Nothing there, a file on the way to it, or a link that leads to itself.
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(code)) return false;
    throw error;
  }
}
