import { readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { LotusError, messageOf } from '../errors.ts';

/** What we take out of a folder. A file that is named is taken whatever its extension. */
const EXTENSIONS = new Set(['.jpg', '.jpeg', '.png', '.webp']);

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
    const files = await imagesBelow(given, outputDir);
    if (files.length > 0) return files.map((file) => ({ file }));
    throw new LotusError('no_image', `No JPEG, PNG or WebP file in ${given}.`);
  } catch (error) {
    if (error instanceof LotusError) return [{ file: given, error }];
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const message = missing ? `No such file or folder: ${given}` : messageOf(error);
    return [{ file: given, error: new LotusError('no_image', message, { cause: error }) }];
  }
}

async function imagesBelow(dir: string, outputDir: string): Promise<string[]> {
  if ((await realpath(dir)) === outputDir) return [];
  const entries = await readdir(dir, { withFileTypes: true });
  const files: string[] = [];
  for (const entry of entries.sort((a, b) =>
    a.name.localeCompare(b.name, 'en', { numeric: true }),
  )) {
    if (entry.name.startsWith('.')) continue;
    const inner = path.join(dir, entry.name);
    if (entry.isDirectory()) files.push(...(await imagesBelow(inner, outputDir)));
    else if (EXTENSIONS.has(path.extname(entry.name).toLowerCase())) files.push(inner);
  }
  return files;
}
