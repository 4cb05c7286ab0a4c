import { constants } from 'node:fs';
import { open, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';

/** The file in a worker's folder that it writes again and again as long as it lives. */
export const BEAT = 'beat';

/**
 * Say that a folder's worker lives.
 *
 * @returns when, in milliseconds since 1970 by the volume's clock, which dates all that is compared with it.
 */
export async function beat(dir: string): Promise<number> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW;
  await using file = await open(path.join(dir, BEAT), flags);
  // Written, and not dated by us: our clock need not be the volume's.
  await file.write('.', 0);
  return (await file.stat()).mtimeMs;
}

/** When a folder's worker was last known to live; null when the folder is there no more. */
export async function lastBeat(dir: string): Promise<number | null> {
  try {
    // Network file systems look again at what is opened, where what is only asked for may be a minute old.
    await using file = await open(
      path.join(dir, BEAT),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
    return (await file.stat()).mtimeMs;
  } catch {
    // It was made just now, or is half removed.
    return await stat(dir).then(
      ({ mtimeMs }) => mtimeMs,
      () => null,
    );
  }
}

/** Leave a folder to whoever comes: nobody has to wait for its beat to have stopped for long enough. */
export async function giveUp(dir: string): Promise<void> {
  await utimes(path.join(dir, BEAT), 0, 0);
}

export async function removeBeat(dir: string): Promise<void> {
  await rm(path.join(dir, BEAT), { force: true });
}
