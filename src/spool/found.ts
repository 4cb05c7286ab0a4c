import { lstat } from 'node:fs/promises';
import { openPlain, unlessGone } from '../storage/files.ts';
import { MAX_RECORD_BYTES, parseRecord, type ResultRecord } from './record.ts';

/** A file that may be a record. */
export interface Found {
  readonly file: string;
  /** When it was written. */
  readonly at: number;
  /** It and no other that comes in its place. */
  readonly key: string;
}

/** The oldest first, so that what has least time left is delivered first, and nothing for ever last. */
export async function byAge(files: readonly string[]): Promise<Found[]> {
  const found: Found[] = [];
  for (const file of files) {
    const stats = await lstat(file).catch(unlessGone);
    if (stats) found.push({ file, at: stats.mtimeMs, key: `${stats.ino} ${stats.mtimeMs}` });
  }
  return found.sort((a, b) => a.at - b.at);
}

/** @returns null when a later version of this program wrote it. */
export async function readRecord(file: string): Promise<ResultRecord | null> {
  await using handle = await openPlain(file, MAX_RECORD_BYTES);
  return parseRecord(await handle.readFile('utf8'));
}
