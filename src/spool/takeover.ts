import { randomUUID } from 'node:crypto';
import { readdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { safeFileName } from '../storage/names.ts';
import { describeOwner, isGone, type Owner } from '../storage/owner.ts';
import { type Beat, lastBeat } from './beat.ts';

/** Folders that were other workers' are called so in their taker's. No record is, nor the beat. */
const TAKEN = 'taken~';

/** So many at a time: a look is not to take long, and another follows. */
const MAX_TAKEOVERS = 50;

export function isTaken(name: string): boolean {
  return name.startsWith(TAKEN);
}

/** The name of the folder of one life of a worker: two of one id may live at the same time. */
export function lifeName(workerId: string): string {
  return `${safeFileName(workerId)}~${randomUUID().slice(0, 8)}`;
}

/** Who takes over, and from whom; times by the volume's clock. */
interface Taker {
  readonly workerId: string;
  readonly owner: Owner;
  /** A worker that has not beaten since then is gone. */
  readonly goneBefore: number;
  /** One that has beaten later than that did so before the volume's clock was set back. */
  readonly notAfter: number;
}

/**
 * Take over the folders of workers that are gone: each by renaming it into our own, which succeeds for one. What such a
 * worker does to its folder should it only have been frozen is harmless: it makes itself another.
 *
 * @param own our folder, in that of the endpoint.
 * @returns what is not as it should be with some of them.
 */
export async function takeOverGone(own: string, taker: Taker): Promise<unknown[]> {
  const endpoint = path.dirname(own);
  const errors: unknown[] = [];
  let takeovers = 0;
  for (const entry of await readdir(endpoint, { withFileTypes: true })) {
    const dir = path.join(endpoint, entry.name);
    if (!entry.isDirectory() || dir === own || takeovers === MAX_TAKEOVERS) continue;
    const last = await lastBeat(dir);
    if (last === null) continue;
    const isSame = isLifeOf(taker.workerId, entry.name);
    if (hasStopped(last, taker) || (isSame && hasEnded(last, taker))) {
      if (await takeInto(own, dir).catch((error) => void errors.push(error))) takeovers += 1;
    } else if (isSame && last.owner !== null) {
      errors.push(new Error(`another worker of our id is alive: ${describeOwner(last.owner)}`));
    }
  }
  return errors;
}

/** Take a folder into another. @returns false when somebody was quicker. */
export async function takeInto(own: string, dir: string): Promise<boolean> {
  try {
    await rename(dir, path.join(own, `${TAKEN}${randomUUID()}`));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

function isLifeOf(workerId: string, name: string): boolean {
  return /~[0-9a-f]{8}$/.test(name) && name.slice(0, -9) === safeFileName(workerId);
}

function hasStopped({ at }: Beat, { goneBefore, notAfter }: Taker): boolean {
  return at < goneBefore || at > notAfter;
}

/** Of a life of our own id. The platform gives an id to one container, so one in another has ended with that. */
function hasEnded({ owner }: Beat, { owner: self }: Taker): boolean {
  return owner !== null && (owner.machine !== self.machine || isGone(owner));
}
