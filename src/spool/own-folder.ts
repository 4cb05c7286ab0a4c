import path from 'node:path';
import { exists } from '../storage/files.ts';
import { folderBelow, isReal, outputFolder } from '../storage/folders.ts';
import type { Owner } from '../storage/owner.ts';
import { BEAT, beat, giveUp } from './beat.ts';
import { removeFolder, removeIfEmpty } from './contents.ts';
import { SPOOL } from './survey.ts';
import { lifeName } from './takeover.ts';

interface OwnFolderOptions {
  readonly workspace: string;
  readonly endpoint: string;
  readonly workerId: string;
  readonly owner: Owner;
  /** Between two beats, in milliseconds. */
  readonly beatMs: number;
  /** Told why a beat could not be written. */
  readonly tell: (error: unknown) => void;
}

/** The folder of one life of a worker, in which it beats. */
export class OwnFolder {
  readonly #options: OwnFolderOptions;
  readonly #names: readonly string[];
  readonly #beating: NodeJS.Timeout;
  #isBeating = false;

  constructor(options: OwnFolderOptions) {
    this.#options = options;
    this.#names = [SPOOL, options.endpoint, lifeName(options.workerId)];
    this.#beating = setInterval(() => void this.#beatAgain(), options.beatMs);
    this.#beating.unref();
  }

  /** The folder of pictures. */
  outputs(): Promise<string> {
    return outputFolder(this.#options.workspace);
  }

  /** Where it is, or would be. */
  async path(): Promise<string> {
    return path.join(await this.outputs(), ...this.#names);
  }

  /**
   * It is made where it is missing, also when it was taken over.
   *
   * @param outputs the folder of pictures, where that is known.
   * @returns where it is.
   */
  async make(outputs?: string): Promise<string> {
    const own = await folderBelow(outputs ?? (await this.outputs()), ...this.#names);
    if (!(await exists(path.join(own, BEAT)))) await this.beat(own);
    return own;
  }

  /** @returns now, by the volume's clock. */
  async beat(own: string): Promise<number> {
    return await beat(own, this.#options.owner);
  }

  /**
   * Ends the beats. It is removed if it is empty, and else left to whoever comes next, at once.
   *
   * @param clear has its chance before that.
   */
  async close(clear: (own: string, now: number) => Promise<unknown>): Promise<void> {
    clearInterval(this.#beating);
    const own = await this.path();
    if (!(await isReal(own))) return;
    await clear(own, await this.beat(own));
    await removeIfEmpty(own);
    const endpoint = path.dirname(own);
    if (await exists(own)) await giveUp(own);
    else if (await removeFolder(endpoint)) await removeFolder(path.dirname(endpoint));
  }

  async #beatAgain(): Promise<void> {
    if (this.#isBeating) return; // the volume does not answer
    this.#isBeating = true;
    try {
      await this.beat(await this.make());
    } catch (error) {
      this.#options.tell(error);
    } finally {
      this.#isBeating = false;
    }
  }
}
