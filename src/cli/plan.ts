import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { FORMATS } from '../job/formats.ts';
import type { OutputFormat } from '../job/schema.ts';
import { OutputNames } from '../storage/names.ts';
import type { ImageFile, Input } from './inputs.ts';
import type { Ledger } from './ledger.ts';

/** An image, and the files that are to be made of it, one for each format in its order. */
export interface Planned extends ImageFile {
  /** The file, in its folder as it really is. */
  readonly itself: string;
  readonly paths: readonly string[];
}

export type Task = Planned | Exclude<Input, ImageFile>;

/** Where the files go. */
export interface Place {
  /** The output folder, as it really is. */
  readonly output: string;
  /** What was made there before: the maps of other images keep their names. */
  readonly ledger: Ledger;
  /** Files that are to be none of these. */
  readonly reserved: readonly string[];
}

/**
 * Say where each image's files go: into the folder below the output folder that it lies in below its own. The same
 * images get the same names, in whatever order they come, so that a run that was interrupted finds what it has done.
 */
export async function planOutputs(
  inputs: readonly Input[],
  formats: readonly OutputFormat[],
  { output, ledger, reserved }: Place,
): Promise<Task[]> {
  const placed = await Promise.all(inputs.map(locate));
  const own = placed.flatMap(({ itself, target }) => [itself, target]);
  const names = new OutputNames(output, [...own, ...reserved]);
  const suffixes = formats.map((format) => FORMATS[format].suffix);
  const paths = new Map<Input, string[]>();
  for (const { input, itself } of placed.toSorted(byName)) {
    if ('error' in input) continue;
    const isTaken = (file: string) => ledger.isOfAnother(file, itself);
    paths.set(input, names.reserve(itself, suffixes, { folder: input.folder, isTaken }));
  }
  return placed.map(({ input, itself }) =>
    'error' in input ? input : { ...input, itself, paths: paths.get(input) ?? [] },
  );
}

/** What files of an image from standard input are called after. */
const STANDARD_INPUT_NAME = 'stdin';

interface Located {
  input: Input;
  /** The file, in its folder as it really is: a link is an input as much as what it points to. */
  itself: string;
  target: string;
}

async function locate(input: Input): Promise<Located> {
  const file = 'bytes' in input ? STANDARD_INPUT_NAME : input.file;
  const dir = await realpath(path.dirname(file)).catch(() => path.resolve(path.dirname(file)));
  const itself = path.join(dir, path.basename(file));
  return { input, itself, target: await realpath(file).catch(() => itself) };
}

function byName(one: Located, other: Located): number {
  if (one.itself === other.itself) return 0;
  return one.itself < other.itself ? -1 : 1;
}
