import { lstat, readdir, rmdir, unlink } from 'node:fs/promises';
import path from 'node:path';
import { isHalfWritten, unlessGone } from '../storage/files.ts';
import { imageStem, jobStem } from '../storage/names.ts';
import { BEAT, removeBeat } from './beat.ts';
import { isTaken } from './takeover.ts';

/** What records end in. */
export const RECORD = '.json';

/** What the pictures that records have beside them end in. */
const PICTURE = '.picture';

/** What lies in a worker's folder, by paths. What is none of ours is not seen. */
interface Contents {
  readonly records: readonly string[];
  /** Folders that it has taken over. */
  readonly taken: readonly string[];
}

/** How old what is half written is before it counts as left by one that was killed. */
const ABANDONED_MS = 60_000;

/**
 * Look into a worker's folder, and remove what was left half written there.
 *
 * @param now by the volume's clock.
 */
export async function contentsOf(dir: string, now: number): Promise<Contents> {
  const records: string[] = [];
  const taken: string[] = [];
  const pictures: string[] = [];
  for (const entry of (await readdir(dir, { withFileTypes: true }).catch(unlessGone)) ?? []) {
    const { name } = entry;
    const file = path.join(dir, name);
    if (entry.isDirectory()) {
      if (isTaken(name)) taken.push(file);
    } else if (isHalfWritten(name)) {
      if (await isOlder(file, now - ABANDONED_MS)) await remove(file);
    } else if (name.endsWith(RECORD)) records.push(file);
    else if (isPicture(name)) pictures.push(file);
  }
  await removeOrphans(pictures, records, now);
  return { records, taken };
}

/** Where a record's picture lies, if it has one there: that of its first image, or of one after that. */
export function pictureBeside(record: string, at: number): string {
  const stem = record.slice(0, -RECORD.length);
  return `${at === 0 ? stem : imageStem(stem, at + 1)}${PICTURE}`;
}

/** The record that a picture lies beside. */
function recordBeside(picture: string): string {
  return `${jobStem(picture.slice(0, -PICTURE.length))}${RECORD}`;
}

export function isPicture(name: string): boolean {
  return name.endsWith(PICTURE);
}

/** Remove a record, which may be gone already, and its pictures. */
export async function removeRecord(file: string): Promise<void> {
  await remove(file);
  const dir = path.dirname(file);
  const names = (await readdir(dir).catch(unlessGone)) ?? [];
  for (const picture of names.filter(isPicture).map((name) => path.join(dir, name))) {
    if (recordBeside(picture) === file) await remove(picture);
  }
}

/** A picture whose record was never written, or is gone. */
async function removeOrphans(
  pictures: readonly string[],
  records: readonly string[],
  now: number,
): Promise<void> {
  const kept = new Set(records);
  for (const file of pictures.filter((one) => !kept.has(recordBeside(one)))) {
    const found = await lstat(file).catch(unlessGone);
    // When it was linked: it was written before that.
    if (found && found.ctimeMs < now - ABANDONED_MS) await remove(file);
  }
}

/** Remove a worker's folder, unless there is more in it than its beat. */
export async function removeIfEmpty(dir: string): Promise<void> {
  const names = (await readdir(dir).catch(unlessGone)) ?? [];
  if (names.some((name) => name !== BEAT)) return;
  await removeBeat(dir);
  await removeFolder(dir);
}

/** Remove a folder that is empty; whether it was. */
export async function removeFolder(dir: string): Promise<boolean> {
  try {
    await rmdir(dir);
    return true;
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(code)) return false;
    throw error;
  }
}

/** Remove a file that may be gone already. */
export async function remove(file: string): Promise<void> {
  await unlink(file).catch(unlessGone);
}

/** Whether there is a file, and it was last written before that; milliseconds since 1970 by the volume's clock. */
export async function isOlder(file: string, at: number): Promise<boolean> {
  const found = await lstat(file).catch(unlessGone);
  return found !== null && found.mtimeMs < at;
}

/** Whether there is a file whose date is further than so many milliseconds from now, in the past or in the future. */
export async function isFarFrom(file: string, now: number, ms: number): Promise<boolean> {
  const found = await lstat(file).catch(unlessGone);
  return found !== null && Math.abs(now - found.mtimeMs) > ms;
}
