import { utimes } from 'node:fs/promises';
import path from 'node:path';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Kept, Outbox, Owed } from '../runpod/outbox.ts';
import { unlessGone, writeWhole } from '../storage/files.ts';
import { isReal } from '../storage/folders.ts';
import { fileStem } from '../storage/names.ts';
import { type Owner, thisProcess } from '../storage/owner.ts';
import {
  contentsOf,
  pictureBeside,
  RECORD,
  remove,
  removeIfEmpty,
  removeRecord,
} from './contents.ts';
import { byAge, type Found, readRecord } from './found.ts';
import { OwnFolder } from './own-folder.ts';
import { flushPicture, linkPicture } from './picture.ts';
import { MAX_RECORD_BYTES, outputOf, picturesOf, type ResultRecord, recordOf } from './record.ts';
import { takeInto, takeOverGone } from './takeover.ts';

/** As many as are delivered at once; what is beyond them is found when these are gone. */
const MAX_OWED = 100;

/** A look reads no more records than this: those of a later version are among them, once. */
const MAX_READ = 300;

/** Different things that went wrong, each of which is told once. */
const MAX_TOLD = 300;

/** More than two looks at one clock can be apart. */
const FUTURE_MS = 60_000;

/** Milliseconds. */
interface SpoolTiming {
  /** Between two beats. */
  readonly beat: number;
  /** How long a beat stands still until its worker is gone: some beats, and what network file systems cache. */
  readonly gone: number;
}
const TIMING: SpoolTiming = { beat: 10_000, gone: 60_000 };

interface SpoolOptions {
  readonly workspace: string;
  /** Who of those that share the volume may deliver what is kept here: see `endpointName`. */
  readonly endpoint: string;
  readonly workerId: string;
  readonly log: Log;
  /** Default: this process. */
  readonly owner?: Owner;
  readonly timing?: Partial<SpoolTiming>;
}

interface ToWrite {
  readonly name: string;
  readonly text: string;
  /** Their names in the folder of pictures, an image each. */
  readonly pictures: readonly (string | null)[];
}

/**
 * Results on the volume, so that they outlive their worker: `output_images/.spool/<endpoint>/<worker>~<life>/<job>.json`,
 * one small record each, and its pictures beside it.
 */
export class Spool implements Outbox {
  readonly #options: SpoolOptions;
  readonly #timing: SpoolTiming;
  readonly #owner: Owner;
  readonly #folder: OwnFolder;
  /** Names of records that our own worker has made and is delivering. */
  readonly #inHand = new Set<string>();
  /** Names of those that are done with and could not be removed. */
  readonly #done = new Set<string>();
  /** Folders that were taken over, as of the last look. */
  #taken: readonly string[] = [];
  /** Records that a later version of this program wrote, as `Found` knows them. */
  readonly #later = new Set<string>();
  readonly #told = new Set<string>();

  constructor(options: SpoolOptions) {
    this.#options = options;
    this.#timing = { ...TIMING, ...options.timing };
    this.#owner = options.owner ?? thisProcess();
    this.#folder = new OwnFolder({
      ...options,
      owner: this.#owner,
      beatMs: this.#timing.beat,
      tell: (error) => this.#tell(error),
    });
  }

  keep(result: Kept): Promise<void> {
    // Not awaited here, where the output would be held as long as the volume hangs.
    return this.#toWrite(result).then((write) => this.#keep(write));
  }

  async #toWrite(result: Kept): Promise<ToWrite> {
    const record = recordOf(result, this.#options.workerId);
    const text = `${JSON.stringify(record)}\n`;
    if (Buffer.byteLength(text) > MAX_RECORD_BYTES) {
      throw new Error(`its record has ${Buffer.byteLength(text)} bytes, not ${MAX_RECORD_BYTES}`);
    }
    const pictures = picturesOf(record).map((picture) => picture?.name ?? null);
    return { name: nameOf(result.jobId), text, pictures };
  }

  async #keep(write: ToWrite): Promise<void> {
    this.#inHand.add(write.name);
    this.#done.delete(write.name);
    const outputs = await this.#folder.outputs();
    for (const picture of write.pictures) {
      if (picture !== null) await this.#flush(path.join(outputs, picture));
    }
    await this.#write(write, outputs);
  }

  async forget(jobId: string): Promise<void> {
    const name = nameOf(jobId);
    this.#inHand.delete(name);
    this.#done.add(name);
    await this.#removeEverywhere(name);
    this.#done.delete(name);
  }

  async owed(): Promise<readonly Owed[]> {
    const own = await this.#folder.make();
    const now = await this.#folder.beat(own);
    const errors = await takeOverGone(own, {
      workerId: this.#options.workerId,
      owner: this.#owner,
      goneBefore: now - this.#timing.gone,
      notAfter: now + FUTURE_MS,
    });
    for (const error of errors) this.#tell(error);
    const found = await byAge(await this.#records(own, now));
    const unknown = found.filter(({ key }) => !this.#later.has(key));
    const owed: Owed[] = [];
    for (const one of unknown.slice(0, MAX_READ)) {
      const kept = await this.#owedIn(one, now);
      if (kept) owed.push(kept);
      if (owed.length === MAX_OWED) break;
    }
    return owed;
  }

  /** Ends. What is still owed is left to whoever comes next, at once. */
  async close(): Promise<void> {
    try {
      await this.#folder.close((own, now) => this.#records(own, now));
    } catch (error) {
      this.#tell(error);
    }
  }

  async #write(write: ToWrite, outputs: string, isAgain = false): Promise<void> {
    const { name, text, pictures } = write;
    try {
      const file = path.join(await this.#folder.make(outputs), name);
      for (const [at, picture] of pictures.entries()) {
        await this.#setBeside(pictureBeside(file, at), picture && path.join(outputs, picture));
      }
      await writeWhole(file, text, { durable: true });
    } catch (error) {
      // It was taken over just now, for this process stood still for long.
      if (isAgain || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      await this.#write(write, await this.#folder.outputs(), true);
    }
  }

  /** Without it the picture is found where it was saved, unless another has been saved there meanwhile. */
  async #setBeside(beside: string, picture: string | null): Promise<void> {
    try {
      await remove(beside);
      if (picture !== null) await linkPicture(picture, beside);
    } catch (error) {
      this.#tell(error);
    }
  }

  /** A record that outlives a machine needs a picture that does. */
  async #flush(picture: string): Promise<void> {
    try {
      await flushPicture(picture);
    } catch (error) {
      this.#tell(error); // when it is read back, it is seen what it is
    }
  }

  async #removeEverywhere(name: string): Promise<void> {
    for (const folder of [await this.#folder.path(), ...this.#taken]) {
      if (await isReal(folder)) await removeRecord(path.join(folder, name));
    }
  }

  /** The records in our folder and in those that were taken over, but for those in hand; clears up in passing. */
  async #records(own: string, now: number): Promise<string[]> {
    const { records, taken } = await contentsOf(own, now);
    const all = [...records];
    for (const dir of taken) {
      const inside = await contentsOf(dir, now);
      all.push(...inside.records);
      // What a taker that is gone had taken comes up to our own, so that folders do not get ever deeper.
      for (const deeper of inside.taken) await takeInto(own, deeper);
      await removeIfEmpty(dir);
    }
    this.#taken = taken;
    for (const file of all.filter((one) => this.#done.has(path.basename(one)))) {
      await this.#removeAgain(file);
    }
    const isOurs = (name: string) => this.#inHand.has(name) || this.#done.has(name);
    return all.filter((file) => !isOurs(path.basename(file)));
  }

  async #removeAgain(file: string): Promise<void> {
    try {
      await removeRecord(file);
      this.#done.delete(path.basename(file));
    } catch (error) {
      this.#tell(error);
    }
  }

  /** @returns null when it is no record that we can deliver; its answer is read again when its turn has come. */
  async #owedIn({ file, at, key }: Found, now: number): Promise<Owed | null> {
    try {
      const record = await readRecord(file);
      // The volume's clock was set back: its time begins again, so that it ends.
      if (at > now + FUTURE_MS) await utimes(file, now / 1000, now / 1000);
      if (record === null) this.#later.add(key);
      return record && this.#owed(file, record, Math.max(0, now - at));
    } catch (error) {
      await this.#removeDamaged(file, error);
      return null;
    }
  }

  #owed(file: string, { job, worker }: ResultRecord, ageMs: number): Owed {
    const read = async (maxBytes: number) => {
      const dir = await this.#folder.outputs();
      const record = await readRecord(file).catch(unlessGone);
      return record && { output: await outputOf(record, file, dir, maxBytes) };
    };
    return { jobId: job, workerId: worker, ageMs, read };
  }

  /** What cannot be read as a record now and never will be; what cannot be read at all may be another time. */
  async #removeDamaged(file: string, error: unknown): Promise<void> {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return; // it is delivered, or another has it
    if (code !== undefined && code !== 'ELOOP') return this.#tell(error);
    this.#options.log.error({ file, error: messageOf(error) }, 'a kept result is damaged: removed');
    await removeRecord(file).catch((failure) => this.#tell(failure));
  }

  /** What lasts is told once. */
  #tell(error: unknown): void {
    const text = messageOf(error);
    if (this.#told.has(text) || this.#told.size > MAX_TOLD) return;
    this.#told.add(text);
    this.#options.log.warn({ err: error }, 'the spool cannot be worked on as it should be');
  }
}

function nameOf(jobId: string): string {
  return `${fileStem(jobId)}${RECORD}`;
}
