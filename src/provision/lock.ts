/**
 * One lock for a workspace that any number of machines see.
 *
 * The lock is a folder that is renamed to its place, which succeeds for one: network file systems keep that
 * promise, and not always flock's. It holds `owner.json`, for people and for whoever must judge, and `beat`,
 * which the owner touches as long as it lives, and which says what it is doing.
 *
 * An owner on the same machine is dead when its process is. One on another machine is dead when its beat has
 * stood still for a minute by the clock of the one that waits: two machines' clocks are never compared. One
 * that was only suspended finds its lock gone when it wakes, and stops; and since everything is built aside
 * and moved to its place at once, two that build at the same time cost each other nothing but work.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { cancelled, SetupError } from '../errors.ts';
import { describeOwner, isGone, type Owner, ownerSchema, thisProcess } from '../storage/owner.ts';
import type { Report } from './step.ts';
import { isHalfMade } from './switch.ts';

const LOCK = 'bootstrap.lock';

/** Milliseconds. */
interface LockTiming {
  /** Between two touches of the beat. */
  beat: number;
  /** How long a beat stands still until its owner counts as dead: some beats, and what NFS caches. */
  stale: number;
  /** Between two looks of one that waits. */
  poll: number;
  /** Before the first line that says that it waits. */
  quiet: number;
  /** Between two lines that say that it still waits. */
  tell: number;
}

/** With retries: whoever was about to write in a folder when it was moved aside does it while it is being removed. */
const AWAY = { recursive: true, force: true, maxRetries: 5 };

const TIMING: LockTiming = { beat: 5_000, stale: 60_000, poll: 250, quiet: 0, tell: 30_000 };

const held = ownerSchema.extend({ token: z.string() });
type Held = z.infer<typeof held>;

/** A folder in the lock's place that no lock of ours was moved to. It has its minute, as any other. */
const UNKNOWN: Held = {
  token: '',
  host: '',
  pid: 0,
  command: '',
  since: '',
  machine: '',
  born: null,
};

interface LockOptions {
  workspace: string;
  report: Report;
  signal?: AbortSignal | undefined;
  timing?: Partial<LockTiming>;
}

/** What the one who holds the lock can do with it. */
export interface Lock {
  /** Aborts when the caller's signal does, or when the lock was lost. */
  readonly signal: AbortSignal;
  /** Say what is being done, for those who wait. */
  tell(doing: string): void;
}

/**
 * Wait for the workspace's lock, and run a task under it.
 *
 * @throws LotusError `cancelled` by the signal; SetupError when another took the lock for dead and has it now.
 */
export async function withLock<T>(
  options: LockOptions,
  task: (lock: Lock) => Promise<T>,
): Promise<T> {
  const timing = { ...TIMING, ...options.timing };
  const dir = path.join(options.workspace, LOCK);
  const mine: Held = { ...thisProcess(), token: randomUUID() };
  await acquire(dir, mine, { ...options, timing });
  const lost = new AbortController();
  const beat = setInterval(() => void keepAlive(dir, mine, lost), timing.beat);
  const signal = options.signal ? AbortSignal.any([options.signal, lost.signal]) : lost.signal;
  try {
    return await task({ signal, tell: (doing) => void note(dir, mine, doing) });
  } catch (error) {
    throw lost.signal.aborted ? lost.signal.reason : error;
  } finally {
    clearInterval(beat);
    await release(dir, mine);
  }
}

/** Whether runs that were killed have left something in a workspace that nobody is working on. */
export async function isLeftBehind(workspace: string): Promise<boolean> {
  const names = await readdir(workspace).catch(() => []); // there is none yet
  const owner = await readOwner(path.join(workspace, LOCK));
  if (owner !== null) return isGone(owner);
  return names.some(isHalfMade);
}

/** What is to be seen of a lock without waiting for it. */
export interface LockState {
  /** null when it does not say. */
  owner: Owner | null;
  /** What is being done under it. */
  doing: string;
  /** When the owner last touched it, in milliseconds since 1970 by its own clock, which need not be right. */
  beatAt: number;
}

/** Who holds a workspace's lock; null when nobody does. */
export async function lockState(workspace: string): Promise<LockState | null> {
  const dir = path.join(workspace, LOCK);
  const owner = await readOwner(dir);
  if (owner === null) return null;
  const { at, doing } = await readBeat(dir);
  return { owner: owner === UNKNOWN ? null : owner, doing, beatAt: at };
}

async function acquire(
  dir: string,
  mine: Held,
  { signal, report, timing }: LockOptions & { timing: LockTiming },
): Promise<void> {
  const watch = new Watch(report, timing);
  while (true) {
    if (signal?.aborted) throw cancelled();
    const owner = await readOwner(dir);
    if (owner === null) {
      if (await putInPlace(dir, mine)) return;
    } else if (!(await watch.sees(dir, owner)) || !(await takeAway(dir, owner, mine, watch))) {
      await sleep(timing.poll);
    } else {
      report(
        `took over from ${owner === UNKNOWN ? 'nobody known' : describeOwner(owner)}, which is dead`,
      );
    }
  }
}

/** Make the lock aside, with its owner in it, and move it to its place; whether it was the first there. */
async function putInPlace(dir: string, mine: Held): Promise<boolean> {
  const aside = asideOf(dir);
  await mkdir(aside);
  try {
    await writeFile(path.join(aside, 'owner.json'), `${JSON.stringify(mine, null, 2)}\n`);
    await writeFile(path.join(aside, 'beat'), '');
    return await moveToFreePlace(aside, dir);
  } catch (error) {
    // Whoever has the lock sweeps what lies about.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  } finally {
    await rm(aside, AWAY);
  }
}

/** Watches over an owner for one who waits, and over those who claim to take its lock away. */
class Watch {
  readonly #report: Report;
  readonly #timing: LockTiming;
  /** What was last seen of each folder, and since when. */
  readonly #seen = new Map<string, { what: string; since: number }>();
  readonly #begun = performance.now();
  #told = '';
  #toldAt = 0;

  constructor(report: Report, timing: LockTiming) {
    this.#report = report;
    this.#timing = timing;
  }

  /** Look; whether the owner is dead. */
  async sees(dir: string, owner: Held): Promise<boolean> {
    if (isGone(owner)) return true;
    const beat = await readBeat(dir);
    this.#tell(owner, beat.doing);
    return this.#standsStill(dir, `${owner.token} ${beat.at}`);
  }

  /** The same of one whose claim lies in a lock: of that nobody needs to be told. */
  async seesClaim(claim: string, claimant: Held): Promise<boolean> {
    if (isGone(claimant)) return true;
    return this.#standsStill(claim, `${claimant.token} ${(await readBeat(claim)).at}`);
  }

  #standsStill(dir: string, what: string): boolean {
    const now = performance.now();
    const last = this.#seen.get(dir);
    if (last?.what === what) return now - last.since > this.#timing.stale;
    this.#seen.set(dir, { what, since: now });
    return false;
  }

  #tell(owner: Held, doing: string): void {
    const now = performance.now();
    if (now - this.#begun < this.#timing.quiet) return;
    const who = owner === UNKNOWN ? 'whoever made it' : describeOwner(owner);
    const line = `waiting for ${who}${doing && `: ${doing}`}`;
    if (line === this.#told && now - this.#toldAt < this.#timing.tell) return;
    this.#told = line;
    this.#toldAt = now;
    this.#report(line);
  }
}

/**
 * Take a dead owner's lock away, so that it is free again; whether it was us.
 *
 * Of several that find it dead one may: the one whose claim lies in it. By the time it does, the lock may be
 * another's, made since by somebody quicker; that is seen, for a claim stops nobody from taking a look. The claim
 * of one that died over it is taken away as the lock is: a claim does not beat, for it is over in a moment.
 */
async function takeAway(dir: string, dead: Held, mine: Held, watch: Watch): Promise<boolean> {
  const claim = path.join(dir, 'claim');
  if (!(await putInPlace(claim, mine).catch(unlessGone))) {
    const claimant = await readOwner(claim);
    const isDead = claimant !== null && (await watch.seesClaim(claim, claimant));
    if (isDead) await takeAway(claim, claimant, mine, watch);
    return false;
  }
  const owner = await readOwner(dir);
  if (owner?.token !== dead.token) {
    await rm(claim, AWAY);
    return false;
  }
  const grave = asideOf(dir);
  await rename(dir, grave);
  await rm(grave, AWAY);
  return true;
}

/** Somebody was quicker, and what it was about is not there any more. */
function unlessGone(error: NodeJS.ErrnoException): false {
  if (error.code === 'ENOENT') return false;
  throw error;
}

async function keepAlive(dir: string, mine: Held, lost: AbortController): Promise<void> {
  const owner = await readOwner(dir).catch(() => mine); // it cannot be read now; the next beat looks again
  if (owner?.token === mine.token) {
    const now = new Date();
    await utimes(path.join(dir, 'beat'), now, now).catch(() => {}); // it was released just now
    return;
  }
  const taker = owner && owner !== UNKNOWN ? ` It belongs to ${describeOwner(owner)} now.` : '';
  lost.abort(
    new SetupError(
      `Lost the lock ${dir}: this process stood still for so long that it was taken for dead.${taker}` +
        ' Nothing is broken; run it again.',
    ),
  );
}

async function note(dir: string, mine: Held, doing: string): Promise<void> {
  const owner = await readOwner(dir).catch(() => null);
  if (owner?.token !== mine.token) return;
  // Only those who wait read it, and on a full disk it cannot be written.
  await writeFile(path.join(dir, 'beat'), doing).catch(() => {});
}

async function release(dir: string, mine: Held): Promise<void> {
  const owner = await readOwner(dir);
  if (owner?.token !== mine.token) return;
  const grave = asideOf(dir);
  await rename(dir, grave);
  await rm(grave, AWAY);
}

/** Move a folder to a place where there is none; whether there was none. */
async function moveToFreePlace(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    throw error;
  }
}

/** The owner of a lock; null when there is no lock. */
async function readOwner(dir: string): Promise<Held | null> {
  try {
    const owner = held.safeParse(JSON.parse(await readFile(path.join(dir, 'owner.json'), 'utf8')));
    return owner.success ? owner.data : UNKNOWN;
  } catch (error) {
    if (error instanceof SyntaxError) return UNKNOWN; // damaged: a machine lost power, say
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ESTALE') throw error;
    const isEmpty = await readdir(dir).then(
      (names) => names.length === 0,
      () => true, // there is none
    );
    return isEmpty ? null : UNKNOWN;
  }
}

async function readBeat(dir: string): Promise<{ at: number; doing: string }> {
  const file = path.join(dir, 'beat');
  try {
    const { mtimeMs } = await stat(file);
    return { at: mtimeMs, doing: await readFile(file, 'utf8') };
  } catch {
    return { at: 0, doing: '' }; // released just now
  }
}

/** Swept with all else that was left half made. */
function asideOf(dir: string): string {
  return path.join(path.dirname(dir), `.${path.basename(dir)}.${randomUUID()}.partial`);
}
