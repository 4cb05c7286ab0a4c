/**
 * Who works from which folder of the workspace, so that none is removed from under a process. A lease is a file
 * that its holder touches as long as it lives.
 */
import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { APP_ROOT } from '../app.ts';
import type { Config } from '../config.ts';
import { clockOf } from '../storage/clock.ts';
import { writeWhole } from '../storage/files.ts';
import { isGone, type Owner, thisProcess } from '../storage/owner.ts';
import type { Made } from './step.ts';
import { isHalfMade } from './switch.ts';
import { noteUse } from './used.ts';

const FOLDER = 'leases';
const BEAT_MS = 60_000;

/**
 * How old a lease from another machine may be. Serverless workers are frozen between jobs, for hours, and go on
 * where they were.
 */
const STALE_MS = 24 * 3_600_000;

/**
 * Say that this process works from a folder of the workspace, until it ends.
 *
 * @param name the folder's path in the workspace, say `venvs/runtime-0123456789ab`.
 * @returns false where nothing can be written: nobody can remove anything there from here either.
 */
async function holdLease(workspace: string, name: string): Promise<boolean> {
  const file = path.join(workspace, FOLDER, `${encodeURIComponent(name)}~${randomUUID()}.json`);
  const text = `${JSON.stringify(thisProcess(), null, 2)}\n`;
  try {
    await writeWhole(file, text);
  } catch {
    return false;
  }
  await noteUse(path.join(workspace, name));
  const beat = () => {
    // Written again, and so dated by the volume's clock, which is not ours. Where it was removed or the volume is
    // gone there is nothing left to say.
    writeFile(file, text, { flag: 'r+' }).catch(() => {});
  };
  setInterval(beat, BEAT_MS).unref();
  process.once('exit', () => rmSync(file, { force: true }));
  return true;
}

/** Say that this process works from that venv, and from the copy of the app on the volume if it does. */
export async function holdLeases(config: Config, { python }: Pick<Made, 'python'>): Promise<void> {
  const release = path.relative(await realpath(config.workspace), await realpath(APP_ROOT));
  if (release.startsWith(`releases${path.sep}`)) await holdLease(config.workspace, release);
  // A machine's own interpreter is beside the packages, and they are what must stay.
  const venv = path.basename(path.dirname(path.dirname(python))).split('@')[0];
  await holdLease(config.workspace, `venvs/${venv}`);
}

/** Who works from a folder. Leases of processes that are gone are removed. */
export async function leaseHolders(workspace: string, name: string): Promise<Owner[]> {
  const dir = path.join(workspace, FOLDER);
  const prefix = `${encodeURIComponent(name)}~`;
  const names = await readdir(dir).catch(() => []); // nobody ever held one
  const files = names.filter((file) => file.startsWith(prefix)).map((file) => path.join(dir, file));
  if (files.length === 0) return [];
  const now = await clockOf(dir);
  const holders = await Promise.all(files.map((file) => holderOf(file, now)));
  return holders.filter((holder) => holder !== null);
}

/**
 * The leases that were half written by processes that were killed. They are written without the lock, and one that
 * is a moment old is being written now: its time is what tells them apart.
 */
export async function halfWritten(workspace: string): Promise<string[]> {
  const dir = path.join(workspace, FOLDER);
  const names = await readdir(dir).catch(() => []); // nobody ever held one
  const files = names.filter(isHalfMade).map((name) => path.join(dir, name));
  if (files.length === 0) return [];
  const now = await clockOf(dir);
  const old = await Promise.all(files.map(async (file) => await isOlder(file, now - STALE_MS)));
  return files.filter((_file, i) => old[i]);
}

async function isOlder(file: string, at: number): Promise<boolean> {
  return await stat(file).then(
    ({ mtimeMs }) => mtimeMs < at,
    () => false, // it was written just now, and has its name
  );
}

async function holderOf(file: string, now: number): Promise<Owner | null> {
  try {
    const owner: Owner = JSON.parse(await readFile(file, 'utf8'));
    if (!isGone(owner) && now - (await stat(file)).mtimeMs < STALE_MS) return owner;
  } catch {
    // It was removed just now.
  }
  await rm(file, { force: true });
  return null;
}
