import { constants } from 'node:fs';
import { type FileHandle, open, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { type Owner, ownerSchema } from '../storage/owner.ts';

/** The file in a worker's folder that it writes again and again as long as it lives. */
export const BEAT = 'beat';

/** Longer than what we write of ourselves. */
const MAX_BYTES = 4_096;

/** What is known of a folder's worker. */
export interface Beat {
  /** When it was last known to live, in milliseconds since 1970 by the volume's clock. */
  readonly at: number;
  /** Its process; null where that is not known. */
  readonly owner: Owner | null;
}

/**
 * Say that a folder's worker lives.
 *
 * @returns when, in milliseconds since 1970 by the volume's clock, which dates all that is compared with it.
 */
export async function beat(dir: string, owner: Owner): Promise<number> {
  await using file = await openBeat(dir, constants.O_WRONLY | constants.O_CREAT);
  // Written, and not dated by us: our clock need not be the volume's.
  await file.write(JSON.stringify(owner), 0);
  return (await file.stat()).mtimeMs;
}

/** A folder's last beat; null when the folder is there no more. */
export async function lastBeat(dir: string): Promise<Beat | null> {
  try {
    // Network file systems look again at what is opened, where what is only asked for may be a minute old.
    await using file = await openBeat(dir, constants.O_RDONLY);
    const { mtimeMs: at } = await file.stat();
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_BYTES), 0, MAX_BYTES, 0);
    return { at, owner: ownerIn(buffer.toString('utf8', 0, bytesRead)) };
  } catch {
    // It was made just now, or is half removed.
    return await stat(dir).then(
      ({ mtimeMs: at }) => ({ at, owner: null }),
      () => null,
    );
  }
}

/** A plain file, and never waited for: a pipe in its place has no end. */
async function openBeat(dir: string, flags: number): Promise<FileHandle> {
  const name = path.join(dir, BEAT);
  const file = await open(name, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw new Error(`${name} is no plain file: remove it`);
}

function ownerIn(text: string): Owner | null {
  try {
    return ownerSchema.parse(JSON.parse(text));
  } catch {
    return null; // being written, or not by this version
  }
}

/** Leave a folder to whoever comes: nobody has to wait for its beat to have stopped for long enough. */
export async function giveUp(dir: string): Promise<void> {
  await utimes(path.join(dir, BEAT), 0, 0);
}

export async function removeBeat(dir: string): Promise<void> {
  await rm(path.join(dir, BEAT), { force: true });
}
