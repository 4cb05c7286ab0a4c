import { randomUUID } from 'node:crypto';
import { link, open, rm, statfs, writeFile } from 'node:fs/promises';
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

/**
 * See that a folder has room for what is to be written, before the first of many gigabytes is.
 *
 * A volume with a quota may promise more than it has: one that fills up all the same is told of when it does.
 *
 * @throws SetupError with both numbers.
 */
export async function requireRoom(dir: string, bytes: number): Promise<void> {
  const free = await freeBytes(dir);
  if (free >= bytes) return;
  throw new SetupError(
    `${dir} has ${gigabytes(free)} free, and ${gigabytes(bytes)} are needed. Free some room (old folders in` +
      ' venvs and releases, models in cache/hub), or set WORKSPACE to a larger volume.',
  );
}

/** Say how long writing will take, when it is long, by writing a little. */
export async function measureWriting(dir: string, bytes: number, report: Report): Promise<void> {
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

export async function freeBytes(dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir);
  return bavail * bsize;
}

export function gigabytes(bytes: number): string {
  return bytes <= 999e6 ? `${Math.ceil(bytes / MB)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

function duration(seconds: number): string {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}
