import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { LotusError, messageOf } from '../errors.ts';

/** What we take out of a folder. A file that is named is taken whatever its extension. */
const EXTENSIONS = new Set(['.jpg', '.jpeg', '.png', '.webp']);

/** A file that is larger is no photograph of at most 4096 x 4096 pixels. */
const MAX_FILE_BYTES = 256 * 1024 * 1024;

/** An input of `infer`: a file to read, or a path that is none. */
export type Input = { file: string } | { file: string; error: LotusError };

/**
 * The images that paths stand for: a file itself, a folder all JPEG, PNG and WebP files below it, by name.
 * A path that stands for nothing is given back with its error. No file is given twice.
 *
 * @param outputDir is left out of folders, so that a second run does not read the first one's maps.
 */
export async function findImages(paths: readonly string[], outputDir: string): Promise<Input[]> {
  const realOutput = await realpath(outputDir).catch(() => path.resolve(outputDir));
  const inputs = new Map<string, Input>();
  for (const given of paths) {
    for (const input of await expand(given, realOutput)) {
      const key = await realpath(input.file).catch(() => input.file);
      if (!inputs.has(key)) inputs.set(key, input);
    }
  }
  return [...inputs.values()];
}

async function expand(given: string, outputDir: string): Promise<Input[]> {
  try {
    const found = await stat(given);
    if (!found.isDirectory()) return [{ file: given }];
    if ((await realpath(given)) === outputDir) {
      const message = `${given} is the output folder; name the files in it, or another --output.`;
      throw new LotusError('no_image', message);
    }
    const inputs = await imagesBelow(given, outputDir);
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

async function imagesBelow(dir: string, outputDir: string): Promise<Input[]> {
  if ((await realpath(dir)) === outputDir) return [];
  const entries = await readdir(dir, { withFileTypes: true });
  entries.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  const inputs: Input[] = [];
  for (const entry of entries.filter(({ name }) => !name.startsWith('.'))) {
    const inner = path.join(dir, entry.name);
    if (entry.isDirectory()) {
      // One that cannot be read costs itself and not its neighbours.
      const below = imagesBelow(inner, outputDir).catch((error) => [unreadable(inner, error)]);
      inputs.push(...(await below));
    } else if (EXTENSIONS.has(path.extname(entry.name).toLowerCase())) {
      inputs.push({ file: inner });
    }
  }
  return inputs;
}

/**
 * Read an image's file.
 *
 * @throws LotusError `no_image` or `invalid_image`.
 */
export async function readInput(file: string): Promise<Buffer> {
  return await readRegular(file).catch(asReadError);
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
