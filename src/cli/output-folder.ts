import { mkdir, readFile, realpath } from 'node:fs/promises';
import path from 'node:path';
import { LotusError, messageOf, UsageError } from '../errors.ts';
import type { Facts } from '../job/answer.ts';
import type { OutputFile } from '../job/formats.ts';
import { saveFile } from '../job/run.ts';
import { folderBelow } from '../storage/folders.ts';
import type { Destination, Done } from './batch.ts';
import { type How, type KnownFile, Ledger, ofThePicture } from './ledger.ts';
import type { Task } from './plan.ts';

/** A folder that maps go to, and what is known of those that are there. */
export interface OutputFolder {
  /** As it was named. */
  readonly given: string;
  /** As it really is, so that a link to an input's folder is recognised. */
  readonly real: string;
  readonly ledger: Ledger;
}

/**
 * Open the folder, which is made where it is missing.
 *
 * @throws UsageError when it cannot be made, or what was made in it cannot be known.
 */
export async function openOutputFolder(given: string): Promise<OutputFolder> {
  const real = await makeReal(given);
  return { given, real, ledger: await Ledger.open(real) };
}

async function makeReal(dir: string): Promise<string> {
  try {
    await mkdir(dir, { recursive: true });
    return await realpath(dir);
  } catch (error) {
    throw new UsageError(`--output ${dir} cannot be made: ${messageOf(error)}`);
  }
}

/** Those of which all maps are there, made in this way; the others as they were. */
export async function findDone(
  tasks: readonly Task[],
  { ledger }: OutputFolder,
  how: How,
): Promise<(Task | Done)[]> {
  return await Promise.all(
    tasks.map(async (task) => {
      if ('error' in task || task.bytes) return task;
      const made = await ledger.find(task.itself, task.paths, how);
      return made === null ? task : { ...task, polarity: made.polarity };
    }),
  );
}

/**
 * Files go into the folder, and what was made of an image is written down.
 *
 * @param how null: that cannot be known, and nothing is written down.
 */
export function intoFolder(
  { given, real, ledger }: OutputFolder,
  how: () => Promise<How | null>,
): Destination {
  return {
    takesStandardOutput: false,
    shown: (file) => path.join(given, path.relative(real, file)),
    async begin(image) {
      // Before it is read: what changes after that is another image.
      const input = image.bytes ? null : await ledger.know(image.itself).catch(() => null);
      await makeFolder(real, image.folder);
      const saved: OutputFile[] = [];
      return {
        async save(file) {
          await saveFile(file);
          saved.push(file);
        },
        end: async (facts) => await writeDown(input, saved, facts),
      };
    },
  };

  async function writeDown(
    input: KnownFile | null,
    saved: readonly OutputFile[],
    { polarity }: Facts,
  ): Promise<string[]> {
    const made = input && (await how());
    if (!made) return [];
    const { options, model } = made;
    try {
      const outputs = await Promise.all(saved.map(knowOwn));
      await ledger.add({
        input,
        outputs,
        options: ofThePicture(options),
        model: { ...model },
        polarity,
      });
      return [];
    } catch (error) {
      return [`It will be computed again, for it cannot be written down: ${messageOf(error)}`];
    }
  }

  /** Another run in the same folder may have written over it, and what it has made is not ours to vouch for. */
  async function knowOwn(file: OutputFile): Promise<KnownFile> {
    const known = await ledger.know(file.path);
    if (file.bytes.equals(await readFile(file.path))) return known;
    throw new Error(`another run has written ${file.path}`);
  }
}

/** The folder below the output folder, and never by a link to elsewhere. */
async function makeFolder(output: string, folder: string): Promise<void> {
  const names = folder.split(path.sep).filter((name) => name !== '');
  await folderBelow(output, ...names).catch((error) => {
    throw new LotusError('internal', `Cannot make the folder for it: ${messageOf(error)}.`, {
      cause: error,
    });
  });
}
