import { lstat, opendir, unlink } from 'node:fs/promises';
import path from 'node:path';
import { clockOf } from './clock.ts';
import { isHalfWritten, unlessGone } from './files.ts';
import { jobStem } from './names.ts';

/** How long files stay, and how much of them. Null: for ever, and all. */
export interface RetentionLimits {
  readonly maxAgeMs: number | null;
  readonly maxBytes: number | null;
}

export interface Retention {
  readonly limits: RetentionLimits;
  /** What files of ours end in, without the dot. Others are none of ours, and stay. */
  readonly extensions: readonly string[];
  /** Names, without extension, of files that stay whatever the limits are. Asked when the files have been listed. */
  readonly stays: () => Promise<ReadonlySet<string>>;
}

/** What a sweep has removed. */
export interface Swept {
  files: number;
  bytes: number;
  /** Files that were half written by processes that were killed. */
  halfWritten: number;
}

/** A younger file may be about to be named by those who keep it. */
const YOUNG_MS = 60_000;

/** How old what is half written is before its writer is surely gone: frozen workers go on after hours. */
const ABANDONED_MS = 24 * 3_600_000;

/** More files than this are not looked at in one sweep, so that it fits into memory; those that are, go first. */
const MAX_FILES = 200_000;

interface Output {
  readonly file: string;
  readonly name: string;
  readonly bytes: number;
  readonly at: number;
}

/**
 * Remove files from a folder that have become too old, and the oldest of what has become too much. Only plain files
 * that lie in the folder itself and are called as ours are: no link is followed and none removed.
 *
 * @param dir without links.
 * @param signal ends it between two files.
 */
export async function sweepFolder(
  dir: string,
  { limits, extensions, stays }: Retention,
  signal: AbortSignal,
): Promise<Swept> {
  const swept: Swept = { files: 0, bytes: 0, halfWritten: 0 };
  const now = await clockOf(dir);
  const { outputs, halfWritten } = await list(dir, limits, extensions, signal);
  for (const one of halfWritten.filter(({ at }) => at < now - ABANDONED_MS)) {
    if ((await removeUnchanged(one)) === 'removed') swept.halfWritten += 1;
  }
  const staying = await stays();
  let total = outputs.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const one of outputs.sort((a, b) => a.at - b.at)) {
    const ageMs = now - one.at;
    const isTooOld = limits.maxAgeMs !== null && ageMs > limits.maxAgeMs;
    const isTooMuch = limits.maxBytes !== null && total > limits.maxBytes;
    // The others are younger still.
    if (signal.aborted || ageMs < YOUNG_MS || !(isTooOld || isTooMuch)) break;
    if (staying.has(jobOf(one.name))) continue;
    const became = await removeUnchanged(one);
    // What another worker's sweep has removed is as little there as what ours has.
    if (became !== 'written again') total -= one.bytes;
    if (became !== 'removed') continue;
    swept.files += 1;
    swept.bytes += one.bytes;
  }
  return swept;
}

/** A job's files are called as it is, up to their first dot; of several images with a number behind it. */
function jobOf(name: string): string {
  return jobStem(name.slice(0, name.indexOf('.')));
}

async function list(
  dir: string,
  { maxAgeMs, maxBytes }: RetentionLimits,
  extensions: readonly string[],
  signal: AbortSignal,
): Promise<{ outputs: Output[]; halfWritten: Output[] }> {
  const outputs: Output[] = [];
  const halfWritten: Output[] = [];
  const hasLimits = maxAgeMs !== null || maxBytes !== null;
  const isOutput = (name: string) =>
    hasLimits && !name.startsWith('.') && extensions.includes(path.extname(name).slice(1));
  for await (const entry of await opendir(dir)) {
    if (signal.aborted || outputs.length >= MAX_FILES) break;
    if (!entry.isFile()) continue;
    const { name } = entry;
    const group = isOutput(name) ? outputs : isHalfWritten(name) ? halfWritten : null;
    const found = group && (await look(path.join(dir, name), name));
    if (found) group?.push(found);
  }
  return { outputs, halfWritten };
}

/** @returns null when it is no plain file, or there no more. */
async function look(file: string, name: string): Promise<Output | null> {
  const found = await lstat(file).catch(unlessGone);
  return found?.isFile() ? { file, name, bytes: found.size, at: found.mtimeMs } : null;
}

/** `written again`: by a job that ran again, since it was listed. */
type Became = 'removed' | 'gone' | 'written again';

async function removeUnchanged(one: Output): Promise<Became> {
  const now = await look(one.file, one.name);
  if (now === null) return 'gone';
  if (now.at !== one.at || now.bytes !== one.bytes) return 'written again';
  return await unlink(one.file).then(
    () => 'removed',
    (error) => unlessGone(error) ?? 'gone',
  );
}
