import { link } from 'node:fs/promises';
import path from 'node:path';
import { flushFolder, openPlain } from '../storage/files.ts';

/** What file systems without hard links say, and those where a file has as many as it can have. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EXDEV', 'EMLINK', 'EINVAL'];

/** Have a picture, and its name, survive a loss of power. */
export async function flushPicture(file: string): Promise<void> {
  await using handle = await openPlain(file, Number.POSITIVE_INFINITY);
  await handle.sync();
  await flushFolder(path.dirname(file));
}

/**
 * Have a second name for a picture, which costs no room: it stays as it is whatever is saved under the first one later,
 * since files are replaced there and never written into. Where there are no links there is none.
 */
export async function linkPicture(file: string, beside: string): Promise<void> {
  await link(file, beside).catch((error: NodeJS.ErrnoException) => {
    if (!NO_LINKS.includes(error.code ?? '')) throw error;
  });
}
