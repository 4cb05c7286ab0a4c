import { lstat, readdir, rmdir, unlink } from 'node:fs/promises';
import path from 'node:path';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Kept, Outbox, Owed } from '../runpod/outbox.ts';
import { isHalfWritten, openPlain, writeWhole } from '../storage/files.ts';
import { folderBelow, isReal, outputFolder } from '../storage/folders.ts';
import { safeFileName } from '../storage/names.ts';
import { BEAT, beat, giveUp, removeBeat } from './beat.ts';
import { MAX_RECORD_BYTES, outputOf, parseRecord, type ResultRecord, recordOf } from './record.ts';
import { isTaken, takeInto, takeOverGone } from './takeover.ts';

/** In the folder of pictures. */
export const SPOOL = '.spool';
/** What records end in. */
export const RECORD = '.json';

/** More than one worker can owe; what is beyond it is found when these are delivered. */
const MAX_RECORDS = 300;

/** Milliseconds. */
interface SpoolTiming {
  /** Between two beats. */
  readonly beat: number;
  /** How long a beat stands still until its worker is gone: some beats, and what network file systems cache. */
  readonly gone: number;
}
const TIMING: SpoolTiming = { beat: 10_000, gone: 60_000 };

/** How old what is half written is before it counts as left by one that was killed. */
const ABANDONED_MS = 60_000;

interface SpoolOptions {
  readonly workspace: string;
  /** Who of those that share the volume may deliver what is kept here: see `endpointName`. */
  readonly endpoint: string;
  readonly workerId: string;
  readonly log: Log;
  readonly timing?: Partial<SpoolTiming>;
}

/**
 * Results on the volume, so that they outlive their worker: `output_images/.spool/<endpoint>/<worker>/<job>.json`, one
 * small record each.
 */
export class Spool implements Outbox {
  readonly #options: SpoolOptions;
  readonly #timing: SpoolTiming;
  readonly #beating: NodeJS.Timeout;
  /** Names of records that our own worker has made and is delivering. */
  readonly #inHand = new Set<string>();
  /** Names of those that are done with and could not be removed. */
  readonly #done = new Set<string>();
  /** Folders that were taken over, as of the last look. */
  #taken: readonly string[] = [];
  readonly #told = new Set<string>();
  #looking: Promise<readonly Owed[]> | null = null;
  #isBeating = false;

  constructor(options: SpoolOptions) {
    this.#options = options;
    this.#timing = { ...TIMING, ...options.timing };
    this.#beating = setInterval(() => void this.#beatAgain(), this.#timing.beat);
    this.#beating.unref();
  }

  async keep(result: Kept): Promise<void> {
    const record = recordOf(result, this.#options.workerId);
    const text = `${JSON.stringify(record)}\n`;
    if (Buffer.byteLength(text) > MAX_RECORD_BYTES) {
      throw new Error(`its record has ${Buffer.byteLength(text)} bytes, not ${MAX_RECORD_BYTES}`);
    }
    const name = nameOf(result.jobId);
    this.#inHand.add(name);
    this.#done.delete(name);
    if (record.picture) await this.#flush(record.picture.name);
    await this.#write(name, text);
  }

  async forget(jobId: string): Promise<void> {
    const name = nameOf(jobId);
    this.#inHand.delete(name);
    this.#done.add(name);
    await this.#removeEverywhere(name);
    this.#done.delete(name);
  }

  /** One look at a time: the one before may still hang. */
  async owed(): Promise<readonly Owed[]> {
    this.#looking ??= this.#lookForOwed().finally(() => {
      this.#looking = null;
    });
    return await this.#looking;
  }

  async #lookForOwed(): Promise<readonly Owed[]> {
    const own = await this.#ownFolder();
    const now = await beat(own);
    for (const error of await takeOverGone(own, now - this.#timing.gone)) this.#tell(error);
    const files = await this.#records(own, now);
    const owed: Owed[] = [];
    for (const file of files.slice(0, MAX_RECORDS)) {
      const one = await this.#read(file, now);
      if (one) owed.push(one);
    }
    return owed.sort((a, b) => b.ageMs - a.ageMs);
  }

  /** Ends. What is still owed is left to whoever comes next, at once. */
  async close(): Promise<void> {
    clearInterval(this.#beating);
    try {
      const own = await this.#ownPath();
      if (!(await isReal(own))) return;
      await this.#records(own, await beat(own));
      if ((await readdir(own)).length > 1) return await giveUp(own);
      await removeBeat(own);
      const [worker, endpoint, spool] = [own, path.dirname(own), path.dirname(path.dirname(own))];
      for (const dir of [worker, endpoint, spool]) await rmdir(dir);
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (code !== 'ENOTEMPTY' && code !== 'ENOENT') this.#tell(error); // somebody else is there
    }
  }

  /** Where our folder is, or would be. */
  async #ownPath(): Promise<string> {
    return path.join(await outputFolder(this.#options.workspace), ...this.#names);
  }

  /** It is made where it is missing, also when it was taken over. */
  async #ownFolder(): Promise<string> {
    return await folderBelow(await outputFolder(this.#options.workspace), ...this.#names);
  }

  get #names(): string[] {
    const { endpoint, workerId } = this.#options;
    return [SPOOL, endpoint, safeFileName(workerId)];
  }

  async #write(name: string, text: string, isAgain = false): Promise<void> {
    try {
      await writeWhole(path.join(await this.#ownFolder(), name), text, { durable: true });
    } catch (error) {
      // It was taken over just now, for this process stood still for long.
      if (isAgain || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      await this.#write(name, text, true);
    }
  }

  /** A record that outlives a machine needs a picture that does. */
  async #flush(picture: string): Promise<void> {
    const file = path.join(await outputFolder(this.#options.workspace), picture);
    await using handle = await openPlain(file, Number.POSITIVE_INFINITY);
    await handle.sync();
  }

  async #removeEverywhere(name: string): Promise<void> {
    for (const folder of [await this.#ownPath(), ...this.#taken]) {
      if (await isReal(folder)) await remove(path.join(folder, name));
    }
  }

  /** The records in our folder and in those that were taken over, but for those in hand; clears up in passing. */
  async #records(own: string, now: number): Promise<string[]> {
    const found: string[] = [];
    const taken: string[] = [];
    await this.#look(own, now, found, (dir) => taken.push(dir));
    // What a taker that is gone had taken comes up to our own, so that folders do not get ever deeper.
    for (const dir of taken) await this.#look(dir, now, found, (deeper) => takeInto(own, deeper));
    this.#taken = taken;
    return found;
  }

  async #look(
    dir: string,
    now: number,
    found: string[],
    onTaken: (dir: string) => unknown,
  ): Promise<void> {
    const entries = await readdir(dir, { withFileTypes: true }).catch(unlessGone);
    for (const entry of entries) {
      const { name } = entry;
      const file = path.join(dir, name);
      if (entry.isDirectory()) {
        if (isTaken(name)) await onTaken(file);
      } else if (isHalfWritten(name)) {
        if (await isOlder(file, now - ABANDONED_MS)) await remove(file);
      } else if (name.endsWith(RECORD)) {
        if (this.#done.has(name)) await this.#removeAgain(name, file);
        else if (!this.#inHand.has(name)) found.push(file);
      }
    }
    const isEmpty = entries.every(({ name }) => name === BEAT);
    if (isEmpty && isTaken(path.basename(dir))) {
      await removeBeat(dir);
      await rmdir(dir);
    }
  }

  async #removeAgain(name: string, file: string): Promise<void> {
    try {
      await remove(file);
      this.#done.delete(name);
    } catch (error) {
      this.#tell(error);
    }
  }

  async #read(file: string, now: number): Promise<Owed | null> {
    let made: number;
    let record: ResultRecord | null;
    try {
      await using handle = await openPlain(file, MAX_RECORD_BYTES);
      made = (await handle.stat()).mtimeMs;
      record = parseRecord(await handle.readFile('utf8'));
    } catch (error) {
      await this.#removeDamaged(file, error);
      return null;
    }
    if (record === null) return null;
    const kept = record;
    return {
      jobId: kept.job,
      workerId: kept.worker,
      ageMs: Math.max(0, now - made),
      read: async (maxBytes) => {
        if (!(await isReal(file))) return null;
        const dir = await outputFolder(this.#options.workspace);
        return { output: await outputOf(kept, dir, maxBytes) };
      },
    };
  }

  /** What cannot be read as a record now and never will be; what cannot be read at all may be another time. */
  async #removeDamaged(file: string, error: unknown): Promise<void> {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return; // it is delivered, or another has it
    if (code !== undefined && code !== 'ELOOP') return this.#tell(error);
    this.#options.log.error({ file, error: messageOf(error) }, 'a kept result is damaged: removed');
    await remove(file).catch((failure) => this.#tell(failure));
  }

  async #beatAgain(): Promise<void> {
    if (this.#isBeating) return; // the volume does not answer
    this.#isBeating = true;
    try {
      await beat(await this.#ownFolder());
    } catch (error) {
      this.#tell(error);
    } finally {
      this.#isBeating = false;
    }
  }

  /** What lasts is told once. */
  #tell(error: unknown): void {
    const text = messageOf(error);
    if (this.#told.has(text) || this.#told.size > MAX_RECORDS) return;
    this.#told.add(text);
    this.#options.log.warn({ err: error }, 'the spool cannot be worked on as it should be');
  }
}

function nameOf(jobId: string): string {
  return `${safeFileName(jobId)}${RECORD}`;
}

async function remove(file: string): Promise<void> {
  await unlink(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}

async function isOlder(file: string, at: number): Promise<boolean> {
  return await lstat(file).then(
    ({ mtimeMs }) => mtimeMs < at,
    () => false, // it has its name now
  );
}

function unlessGone(error: NodeJS.ErrnoException): [] {
  if (error.code === 'ENOENT') return [];
  throw error;
}
