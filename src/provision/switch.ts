import { randomUUID } from 'node:crypto';
import { lstat, mkdir, readlink, rename, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import { SetupError } from '../errors.ts';

/** Whether something is called as what is built aside; other people's `.partial` is not. */
export function isHalfMade(name: string): boolean {
  return /\.([0-9a-f-]{36}|download)\.partial$/.test(name);
}

/**
 * Build a folder aside and move it to its place at once, so that one that is there is whole. When somebody
 * else was quicker, theirs stays: the name says what is in it.
 *
 * @param build fills the folder; what it throws leaves nothing behind.
 */
export async function buildAside(
  target: string,
  build: (aside: string) => Promise<void>,
): Promise<void> {
  const aside = path.join(
    path.dirname(target),
    `.${path.basename(target)}.${randomUUID()}.partial`,
  );
  await mkdir(aside, { recursive: true });
  try {
    await build(aside);
    await rename(aside, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    // With retries: what was killed may still be writing. After the rename there is nothing left.
    await rm(aside, { recursive: true, force: true, maxRetries: 5 });
  }
}

/**
 * What a link of ours points to: a folder's name; null when there is none yet.
 *
 * @param dir the folder that it points into.
 * @throws SetupError when something else is in its place: that is somebody's.
 */
export async function readSwitch(link: string, dir: string): Promise<string | null> {
  const found = await lstat(link).catch((error: NodeJS.ErrnoException) => {
    // Above it is something that is no folder: whoever makes the workspace says so.
    if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
  });
  if (found === undefined) return null;
  const target = found.isSymbolicLink() ? await readlink(link) : null;
  if (target !== null && path.dirname(path.resolve(path.dirname(link), target)) === dir) {
    return path.basename(target);
  }
  const what =
    target !== null ? `a link to ${target}` : found.isDirectory() ? 'a folder' : 'a file';
  throw new SetupError(
    `${link} is ${what}, and is to be a link into ${dir}. It is not ours to replace: move it away, and run` +
      ' it again.',
  );
}

/**
 * Point a symbolic link at a folder beside it, at once, by a relative path so that the whole can move.
 *
 * @throws SetupError when something else than a link is in its place.
 */
export async function switchLink(link: string, target: string): Promise<void> {
  const aside = `${link}.${randomUUID()}.partial`;
  await symlink(path.relative(path.dirname(link), target), aside);
  try {
    await rename(aside, link);
  } catch (error) {
    await rm(aside, { force: true });
    if ((error as NodeJS.ErrnoException).code !== 'EISDIR') throw error;
    throw new SetupError(`${link} is a folder, where a link is to be: move it away.`);
  }
}
