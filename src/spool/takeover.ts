import { randomUUID } from 'node:crypto';
import { readdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { lastBeat } from './beat.ts';

/** Folders that were other workers' are called so in their taker's. No record is, nor the beat. */
const TAKEN = 'taken~';

/** So many at a time: a look is not to take long, and another follows. */
const MAX_TAKEOVERS = 50;

export function isTaken(name: string): boolean {
  return name.startsWith(TAKEN);
}

/**
 * Take over the folders of workers that are gone: each by renaming it into our own, which succeeds for one. What such a
 * worker does to its folder should it only have been frozen is harmless: it makes itself another.
 *
 * @param own our folder, in that of the endpoint.
 * @param goneBefore a worker that has not beaten since then is gone, by the volume's clock.
 * @param notAfter one that has beaten later than that did so before the volume's clock was set back.
 * @returns why some of them could not be taken.
 */
export async function takeOverGone(
  own: string,
  goneBefore: number,
  notAfter: number,
): Promise<unknown[]> {
  const endpoint = path.dirname(own);
  const errors: unknown[] = [];
  let takeovers = 0;
  for (const entry of await readdir(endpoint, { withFileTypes: true })) {
    const dir = path.join(endpoint, entry.name);
    if (!entry.isDirectory() || dir === own) continue;
    const at = await lastBeat(dir);
    if (at === null || (at >= goneBefore && at <= notAfter)) continue;
    await takeInto(own, dir).catch((error) => errors.push(error));
    takeovers += 1;
    if (takeovers === MAX_TAKEOVERS) break;
  }
  return errors;
}

/** Take a folder into another, unless somebody was quicker. */
export async function takeInto(own: string, dir: string): Promise<void> {
  await rename(dir, path.join(own, `${TAKEN}${randomUUID()}`)).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    },
  );
}
