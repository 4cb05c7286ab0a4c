import { randomUUID } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { messageOf, SetupError } from '../errors.ts';
import type { Log } from '../log.ts';

/** Where Linux keeps files in memory. Docker gives it 64 MB unless told otherwise, so we look first. */
export const SHARED_MEMORY = '/dev/shm';

/** Pixels of the largest image. */
const MAX_PIXELS = 4096 * 4096;
/** Of an image: 8-bit RGB. */
const INPUT_BYTES = 3;
/** Of each channel of its map: the planes float32, uint8, uint16, color and uncertainty, and an EXR file, which is no
 * larger than its floats. */
const OUTPUT_BYTES = 4 + 1 + 2 + 1 + 4 + 4;
/** Images that wait beside those that run. */
const WAITING = 2;

/**
 * Our folders' names have the PID namespace and the pid: containers may share /dev/shm (`--ipc=host`), and
 * a pid of one means nothing in another.
 */
const PREFIX = `lotus-worker-${pidNamespace()}-`;

/** What decides how much room is needed. */
interface ScratchNeeds {
  /** How many are run at the same time. */
  readonly images?: number;
  /** Of their maps. */
  readonly channels?: 1 | 3;
}

/** The path of a file, and its end. */
export interface ScratchFile extends AsyncDisposable {
  readonly path: string;
}

/** A folder of our own for the pixels that pass between Node and Python, readable by us alone. */
export class Scratch {
  readonly dir: string;

  private constructor(dir: string) {
    this.dir = dir;
  }

  /**
   * Make a scratch folder, in memory where there is room, and remove those that processes which are gone
   * left behind.
   *
   * @param wanted the folder to make it in, instead of the one that would be chosen.
   */
  static async open(
    log: Log,
    { wanted, ...needs }: { wanted?: string | undefined } & ScratchNeeds = {},
  ): Promise<Scratch> {
    const parent = wanted ?? (await chooseParent(needs));
    try {
      await mkdir(parent, { recursive: true });
      await sweep(parent, log);
      // mkdtemp makes it with mode 0700.
      const dir = await mkdtemp(path.join(parent, `${PREFIX}${process.pid}-`));
      log.debug({ dir }, 'scratch');
      return new Scratch(dir);
    } catch (error) {
      throw new SetupError(
        `No scratch folder can be made in ${parent}: ${messageOf(error)}. Set LOTUS_SCRATCH_DIR.`,
        { cause: error },
      );
    }
  }

  /** A file in it, not made yet, that is gone after `await using`. */
  file(extension: string): ScratchFile {
    const file = path.join(this.dir, `${randomUUID()}.${extension}`);
    return { path: file, [Symbol.asyncDispose]: () => rm(file, { force: true }) };
  }

  /** Remove the folder with all that is in it. */
  async close(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }
}

/**
 * The folder that scratch folders are made in unless a setting names one.
 *
 * All images may be of the largest size.
 */
export async function chooseParent({
  images = 1,
  channels = 1,
}: ScratchNeeds = {}): Promise<string> {
  const bytes = MAX_PIXELS * ((images + WAITING) * INPUT_BYTES + images * channels * OUTPUT_BYTES);
  return (await hasRoom(SHARED_MEMORY, bytes)) ? SHARED_MEMORY : os.tmpdir();
}

function pidNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0';
  } catch {
    return '0'; // not Linux
  }
}

async function hasRoom(dir: string, bytes: number): Promise<boolean> {
  try {
    const { bavail, bsize } = await statfs(dir);
    return bavail * bsize >= bytes;
  } catch {
    return false; // no such folder: not Linux
  }
}

async function sweep(parent: string, log: Log): Promise<void> {
  for (const name of await readdir(parent)) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    const dir = path.join(parent, name);
    // Another process may sweep at the same time, or it may not be ours to remove: neither stops us.
    await rm(dir, { recursive: true, force: true }).then(
      () => log.info({ dir }, 'removed the scratch folder of a process that is gone'),
      (error) => log.warn({ dir, err: error }, 'cannot remove an old scratch folder'),
    );
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // alive, and somebody else's
  }
}
