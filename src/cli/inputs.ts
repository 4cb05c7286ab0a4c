import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { LotusError, messageOf, UsageError } from '../errors.ts';

/** What we take out of a folder. A file that is named is taken whatever its extension. */
const EXTENSIONS = new Set(['.jpg', '.jpeg', '.png', '.webp']);

/** A file that is larger is no photograph of at most 4096 x 4096 pixels. */
const MAX_FILE_BYTES = 256 * 1024 * 1024;

/** An image to read. */
export interface ImageFile {
  readonly file: string;
  /** The folder it lies in, seen from the one that was named; empty for that itself, and for a file that was named. */
  readonly folder: string;
  /** What was read of it already. */
  readonly bytes?: Buffer;
}

/** Among paths: standard input. A file of that name is `./-`. */
export const STANDARD_INPUT = '-';

/** An input of `infer`: a file to read, or a path that is none. */
export type Input = ImageFile | { readonly file: string; readonly error: LotusError };

/**
 * The images that paths stand for: a file itself, a folder all JPEG, PNG and WebP files below it, by name.
 * `-` is standard input, which is read. A path that stands for nothing is given back with its error. No file is given
 * twice.
 *
 * @param outputDir is left out of folders, so that a second run does not read the first one's maps; null: there is none.
 * @throws UsageError when standard input is a terminal.
 */
export async function findImages(
  paths: readonly string[],
  outputDir: string | null,
): Promise<Input[]> {
  const realOutput = outputDir && (await realpath(outputDir).catch(() => path.resolve(outputDir)));
  const inputs = new Map<string, Input>();
  for (const given of paths) {
    for (const input of await expand(given, realOutput)) {
      const key = await realpath(input.file).catch(() => input.file);
      if (!inputs.has(key)) inputs.set(key, input);
    }
  }
  return [...inputs.values()];
}

async function expand(given: string, outputDir: string | null): Promise<Input[]> {
  if (given === STANDARD_INPUT) return [await readStandardInput()];
  try {
    const found = await stat(given);
    if (!found.isDirectory()) return [{ file: given, folder: '' }];
    if ((await realpath(given)) === outputDir) {
      const message = `${given} is the output folder; name the files in it, or another --output.`;
      throw new LotusError('no_image', message);
    }
    const inputs = await imagesBelow(given, '', outputDir);
    if (inputs.length > 0) return inputs;
    throw new LotusError('no_image', `No JPEG, PNG or WebP file in ${given}.`);
  } catch (error) {
    if (error instanceof LotusError) return [{ file: given, error }];
    return [unreadable(given, error)];
  }
}

function unreadable(file: string, error: unknown): Input {
  const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
  const message = missing ? `No such file or folder: ${file}` : messageOf(error);
  return { file, error: new LotusError('no_image', message, { cause: error }) };
}

async function imagesBelow(
  root: string,
  folder: string,
  outputDir: string | null,
): Promise<Input[]> {
  const dir = path.join(root, folder);
  if ((await realpath(dir)) === outputDir) return [];
  const entries = await readdir(dir, { withFileTypes: true });
  entries.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  const inputs: Input[] = [];
  for (const entry of entries.filter(({ name }) => !name.startsWith('.'))) {
    const file = path.join(dir, entry.name);
    if (entry.isDirectory()) {
      // One that cannot be read costs itself and not its neighbours.
      const below = imagesBelow(root, path.join(folder, entry.name), outputDir);
      inputs.push(...(await below.catch((error) => [unreadable(file, error)])));
    } else if (EXTENSIONS.has(path.extname(entry.name).toLowerCase())) {
      inputs.push({ file, folder });
    }
  }
  return inputs;
}

async function readStandardInput(): Promise<Input> {
  const { stdin } = process;
  if (stdin.isTTY) {
    throw new UsageError(
      '- reads an image from standard input, which is a terminal: pipe one into it',
    );
  }
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of stdin) {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes <= MAX_FILE_BYTES) continue;
    const message = `Standard input has more than ${MAX_FILE_BYTES} bytes, and no more are read.`;
    return { file: STANDARD_INPUT, error: new LotusError('invalid_image', message) };
  }
  return { file: STANDARD_INPUT, folder: '', bytes: Buffer.concat(pieces) };
}

/**
 * Read an image's file.
 *
 * @throws LotusError `no_image` or `invalid_image`.
 */
export async function readInput({ file, bytes }: ImageFile): Promise<Buffer> {
  return bytes ?? (await readRegular(file).catch(asReadError));
}

async function readRegular(file: string): Promise<Buffer> {
  const found = await stat(file);
  // A pipe or a device may never end.
  if (!found.isFile()) throw new LotusError('no_image', `${file} is not a regular file.`);
  if (found.size > MAX_FILE_BYTES) {
    throw new LotusError(
      'invalid_image',
      `${file} has ${found.size} bytes; at most ${MAX_FILE_BYTES} are read.`,
    );
  }
  return await readFile(file);
}

function asReadError(error: unknown): never {
  if (error instanceof LotusError) throw error;
  throw new LotusError('no_image', `Cannot read it: ${messageOf(error)}.`, { cause: error });
}
