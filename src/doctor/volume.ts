import { constants } from 'node:fs';
import { access, readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Config } from '../config.ts';
import { messageOf } from '../errors.ts';
import { lockState } from '../provision/lock.ts';
import { freeBytes, gigabytes } from '../provision/room.ts';
import { halfMade } from '../provision/sweep.ts';
import { exists } from '../storage/files.ts';
import { describeOwner, isGone } from '../storage/owner.ts';
import { type Finding, fault, note, ok } from './finding.ts';

/** With less than this not even what is small fits: links, notes, maps. */
const FULL_BELOW_BYTES = 50e6;

/** Why nothing can be made in a workspace; null when it can. */
export async function writingFault(config: Config): Promise<string | null> {
  const dir = await nearest(config.workspace);
  try {
    await access(dir, constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EROFS') return 'it is mounted read-only';
    if (code === 'EACCES') return `${thisUser()} may not write to ${dir}`;
    return messageOf(error);
  }
  const free = await freeBytes(dir);
  return free !== null && free < FULL_BELOW_BYTES ? `it is full: ${gigabytes(free)} free` : null;
}

/** What the volume is like beside what is on it: whether it can be read and written, who works on it. */
export async function examineVolume(
  config: Config,
  cannotWrite: string | null,
): Promise<Finding[]> {
  const { workspace } = config;
  const findings = [await examineReading(workspace)];
  if (cannotWrite === null) findings.push(ok('writing', 'it can be written to'));
  else findings.push(note('writing', `${cannotWrite}; what is there is served all the same`));
  return [...findings, await examineLock(workspace), ...(await examineLeftovers(workspace))];
}

async function examineReading(workspace: string): Promise<Finding> {
  const dir = await nearest(workspace);
  const below = await readdir(dir, { withFileTypes: true }).catch(() => []); // said below
  const folders = below.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'));
  const unreadable: string[] = [];
  for (const folder of [dir, ...folders.map(({ name }) => path.join(dir, name))]) {
    const isReadable = await access(folder, constants.R_OK | constants.X_OK).then(
      () => true,
      () => false,
    );
    if (!isReadable) unreadable.push(folder);
  }
  if (unreadable.length === 0) return ok('reading', 'it can be read');
  return fault(
    'reading',
    `${thisUser()} may not read ${unreadable.join(', ')}`,
    'run it as the owner of the workspace, or give this user the right',
  );
}

async function examineLock(workspace: string): Promise<Finding> {
  const state = await lockState(workspace).catch((error) => messageOf(error));
  if (state === null) return ok('lock', 'nobody holds it');
  if (typeof state === 'string') return note('lock', `it cannot be read: ${state}`);
  const { owner, doing, beatAt } = state;
  const who = `held by ${owner ? describeOwner(owner) : 'an unknown process'}`;
  const what = doing ? `${who}: ${doing}` : who;
  if (owner && isGone(owner)) {
    return note('lock', `${what}; that process is dead`, 'the next run takes it over');
  }
  const beat = `last sign of life ${new Date(beatAt).toISOString()} by its own clock`;
  return note(
    'lock',
    `${what}; ${beat}`,
    'others wait for it; a dead one is taken over in a minute',
  );
}

async function examineLeftovers(workspace: string): Promise<Finding[]> {
  const found = await halfMade(workspace);
  if (found.length === 0) return [];
  const names = found.map((file) => path.relative(workspace, file)).join(', ');
  const advice = 'if the lock is free: left by a run that was killed, and removed by the next one';
  return [note('half made', names, advice)];
}

/** The folder itself, or what there is on the way to it. */
async function nearest(dir: string): Promise<string> {
  if ((await exists(dir)) || path.dirname(dir) === dir) return dir;
  return await nearest(path.dirname(dir));
}

function thisUser(): string {
  return `user ${process.getuid?.() ?? 'unknown'}`;
}
