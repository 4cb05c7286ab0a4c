import { randomUUID } from 'node:crypto';
import { link, open, rm, stat, statfs, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { SetupError } from '../errors.ts';
import type { Report } from './step.ts';

const MB = 1e6;

/** Writing less than this is over before anybody wonders. */
const MEASURED_FROM_BYTES = 1000 * MB;
/** More than what a disk's own cache swallows, and a second's work for a slow volume. */
const PROBE_BYTES = 64 * MB;
/** RunPod gives a serverless worker this long to start. */
const START_LIMIT_S = 7 * 60;

/** What is to be written to a folder. */
export interface Room {
  /** It need not be there yet. */
  readonly dir: string;
  /** About. */
  readonly bytes: number;
  /** How much of that is there already. May take a walk over many files, so it is asked when it matters. */
  readonly had?: () => Promise<number>;
  /** The setting that says where it is. Default: WORKSPACE. */
  readonly setting?: string;
}

/** See that a folder has room; for several see `requireRooms`. */
export async function requireRoom(dir: string, bytes: number): Promise<void> {
  await requireRooms([{ dir, bytes }]);
}

/**
 * See that there is room for what is to be written, on each disk for all that goes there, before the first of
 * many gigabytes is.
 *
 * A volume with a quota may promise more than it has: one that fills up all the same is told of when it does.
 * One that says nothing, or nonsense, is believed to have room.
 *
 * @returns for each, the bytes that are still to be written.
 * @throws SetupError with both numbers.
 */
export async function requireRooms(rooms: readonly Room[]): Promise<Room[]> {
  const left = await Promise.all(rooms.map(withoutHad));
  const disks = Map.groupBy(
    await Promise.all(left.map(async (room) => ({ room, disk: await diskOf(room.dir) }))),
    ({ disk }) => disk,
  );
  for (const there of disks.values()) await requireOnDisk(there.map(({ room }) => room));
  return left;
}

async function withoutHad({ had, ...room }: Room): Promise<Room> {
  if (had === undefined || room.bytes === 0) return room;
  return { ...room, bytes: Math.max(0, room.bytes - (await had())) };
}

async function requireOnDisk(rooms: readonly Room[]): Promise<void> {
  const needed = rooms.filter(({ bytes }) => bytes > 0);
  const dirs = [...new Set(needed.map(({ dir }) => dir))];
  const bytes = needed.reduce((sum, room) => sum + room.bytes, 0);
  const free = await freeBytes(dirs[0] ?? '.');
  if (free === null || free >= bytes) return;
  const settings = [...new Set(needed.map(({ setting = 'WORKSPACE' }) => setting))];
  throw new SetupError(
    `${dirs.join(' and ')} ${dirs.length > 1 ? 'have' : 'has'} ${gigabytes(free)} free, and` +
      ` ${gigabytes(bytes)} are needed. Free some room (old folders in venvs and releases, models in` +
      ` cache/hub), or set ${settings.join(' or ')} to a folder on a larger volume.`,
  );
}

/** Whether two folders, or those that they will be made in, lie on one disk. */
export async function onOneDisk(one: string, other: string): Promise<boolean> {
  return (await diskOf(one)) === (await diskOf(other));
}

async function diskOf(dir: string): Promise<number> {
  return (await stat(await nearestFolder(dir))).dev;
}

/** A folder, or the nearest above it that is there. */
async function nearestFolder(dir: string): Promise<string> {
  const found = await stat(dir).catch(() => null); // not there yet
  const parent = path.dirname(dir);
  return found !== null || parent === dir ? dir : await nearestFolder(parent);
}

/** Say how long writing to a folder will take, when it is long, by writing a little. */
export async function measureWriting(
  dir: string,
  rooms: readonly Room[],
  report: Report,
): Promise<void> {
  const there = await Promise.all(rooms.map((room) => onOneDisk(room.dir, dir)));
  const bytes = rooms.reduce((sum, room, i) => sum + (there[i] ? room.bytes : 0), 0);
  if (bytes < MEASURED_FROM_BYTES) return;
  const file = path.join(dir, `.${randomUUID()}.partial`);
  const since = performance.now();
  const handle = await open(file, 'wx');
  try {
    await handle.write(Buffer.alloc(PROBE_BYTES, 'lotus'));
    await handle.sync();
  } finally {
    await handle.close();
    await rm(file, { force: true });
  }
  const perSecond = PROBE_BYTES / ((performance.now() - since) / 1000);
  const seconds = bytes / perSecond;
  const note =
    seconds > START_LIMIT_S
      ? '; a serverless worker has 7 minutes to start: prepare the volume on a pod first'
      : '';
  report(
    `${gigabytes(bytes)} to write at ${Math.round(perSecond / MB)} MB/s: ${duration(seconds)} or more${note}`,
  );
}

/** Whether a file can have a name in one folder and one in another; without it uv copies out of its cache. */
export async function hasHardLinks(dir: string, other: string): Promise<boolean> {
  const one = path.join(dir, `.${randomUUID()}.partial`);
  const two = path.join(other, `.${randomUUID()}.partial`);
  try {
    await writeFile(one, '');
    return await link(one, two).then(
      () => true,
      () => false,
    );
  } finally {
    await Promise.all([rm(one, { force: true }), rm(two, { force: true })]);
  }
}

/** What a disk has left for us; null when it does not say, as some network file systems do not. */
export async function freeBytes(dir: string): Promise<number | null> {
  const { blocks, bavail, bsize } = await statfs(await nearestFolder(dir));
  const isNonsense = blocks <= 0 || bsize <= 0 || bavail < 0 || bavail > blocks;
  return isNonsense ? null : bavail * bsize;
}

/** The same for people. */
export async function describeFree(dir: string): Promise<string> {
  const free = await freeBytes(dir);
  return free === null ? 'of unknown size' : `${gigabytes(free)} free`;
}

export function gigabytes(bytes: number): string {
  return bytes <= 999e6 ? `${Math.ceil(bytes / MB)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

export function duration(seconds: number): string {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}
