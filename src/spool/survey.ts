import type { Dirent } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { isHalfWritten, unlessGone } from '../storage/files.ts';
import { isReal } from '../storage/folders.ts';
import { BEAT } from './beat.ts';
import { isFarFrom, isPicture, RECORD, remove, removeFolder } from './contents.ts';

/** In the folder of pictures. */
export const SPOOL = '.spool';

/** Endpoint, worker, taken over, and once more where the taker died over it. */
const MAX_DEPTH = 5;

/**
 * A record that is so old belongs to an endpoint that nobody serves any more: those who serve one let theirs expire
 * after half an hour.
 */
const ABANDONED_MS = 24 * 3_600_000;

/**
 * The names, without extension, of all records in the spools of all endpoints on a volume. The files of a job are
 * called as its record.
 *
 * @param outputs the folder of pictures, without links.
 * @throws the system's error where it cannot be known.
 */
export async function owedNames(outputs: string): Promise<Set<string>> {
  const names = new Set<string>();
  const note = (_dir: string, { name }: Dirent) => {
    if (name.endsWith(RECORD)) names.add(path.parse(name).name);
  };
  // Twice: while folders are taken over one may be neither where it was nor where it goes, when we look there.
  await walk(path.join(outputs, SPOOL), note);
  await walk(path.join(outputs, SPOOL), note);
  return names;
}

/**
 * Remove what was left in spools that nobody delivers from any more.
 *
 * @param now by the volume's clock.
 * @returns how many records that were.
 */
export async function removeAbandoned(outputs: string, now: number): Promise<number> {
  let records = 0;
  const isOld = (file: string) => isFarFrom(file, now, ABANDONED_MS);
  const onFile = async (dir: string, { name }: Dirent) => {
    const file = path.join(dir, name);
    const isOurs = name === BEAT || name.endsWith(RECORD) || isPicture(name) || isHalfWritten(name);
    if (!isOurs || !(await isOld(file))) return;
    await remove(file);
    if (name.endsWith(RECORD)) records += 1;
  };
  const onFolder = async (dir: string) => {
    if (await isOld(dir)) await removeFolder(dir);
  };
  await walk(path.join(outputs, SPOOL), onFile, onFolder);
  return records;
}

/** Sees every file below a folder, and then each folder. No link is followed. */
async function walk(
  dir: string,
  onFile: (dir: string, entry: Dirent) => unknown,
  onFolder: (dir: string) => unknown = () => {},
  depth = 0,
): Promise<void> {
  if (depth > MAX_DEPTH || (depth === 0 && !(await isReal(dir)))) return;
  for (const entry of (await readdir(dir, { withFileTypes: true }).catch(unlessGone)) ?? []) {
    if (entry.isDirectory()) await walk(path.join(dir, entry.name), onFile, onFolder, depth + 1);
    else await onFile(dir, entry);
  }
  if (depth > 0) await onFolder(dir);
}
