import { createHash } from 'node:crypto';
import path from 'node:path';

/**
 * Gives out names for output files in one folder and those below it: no name twice, and none whose file is an input.
 *
 * Names are compared without regard to case, because the file systems of macOS and Windows are.
 */
export class OutputNames {
  readonly #dir: string;
  readonly #taken: Set<string>;

  /**
   * @param dir the folder that the outputs go to, absolute.
   * @param inputs files that must not be overwritten, absolute.
   */
  constructor(dir: string, inputs: Iterable<string>) {
    this.#dir = dir;
    this.#taken = new Set([...inputs].map(nameKey));
  }

  /**
   * Reserve paths `dir/<folder>/<name><suffix>` for an input: its file name without its extension, with -2, -3
   * and so on behind it while any of the paths is taken.
   *
   * @param where `folder`: relative, below the output folder; `isTaken`: whether a path is another's from before.
   * @returns the paths, in the order of the suffixes.
   */
  reserve(
    input: string,
    suffixes: readonly string[],
    { folder = '', isTaken = (_file: string): boolean => false } = {},
  ): string[] {
    const { name } = path.parse(input);
    for (let n = 1; ; n += 1) {
      const stem = n === 1 ? name : `${name}-${n}`;
      const files = suffixes.map((suffix) => path.join(this.#dir, folder, `${stem}${suffix}`));
      if (files.some((file) => this.#taken.has(nameKey(file)) || isTaken(file))) continue;
      for (const file of files) this.#taken.add(nameKey(file));
      return files;
    }
  }
}

/** What two paths have in common that may be one file's. */
export function nameKey(file: string): string {
  return file.normalize('NFC').toLowerCase();
}

/** Longer names are cut; file systems take 255 bytes, and a suffix comes behind. */
const MAX_NAME = 120;

/**
 * A file name for an id that a stranger gave: no separators, no leading dot, bounded. An id that had to be
 * changed gets a digest of the original behind a sign that no unchanged one has, so that two ids never
 * share a file.
 */
export function safeFileName(id: string): string {
  return withDigest(id, id.replaceAll(/[^A-Za-z0-9_.-]/g, '_').replace(/^\./, '_'));
}

/**
 * What the names of a job's files begin with. As `safeFileName`, and without a dot: a file's suffix begins at the first
 * one, and `.color.png` is one.
 */
export function fileStem(jobId: string): string {
  return withDigest(jobId, jobId.replaceAll(/[^A-Za-z0-9_-]/g, '_'));
}

/** What the names of the files of a job's image begin with, of several; `n` from 1 on. */
export function imageStem(jobStem: string, n: number): string {
  return `${jobStem}~${n}`;
}

/** The job's, of that: a number is shorter than a digest, which may be behind the same sign. */
export function jobStem(stem: string): string {
  return stem.replace(/~\d{1,3}$/, '');
}

function withDigest(id: string, harmless: string): string {
  const safe = harmless.slice(0, MAX_NAME);
  if (safe === id && safe !== '') return safe;
  // utf16le, because in UTF-8 all lone surrogates are one.
  return `${safe}~${createHash('sha256').update(id, 'utf16le').digest('hex').slice(0, 12)}`;
}
