import { existsSync } from 'node:fs';
import { constants, open, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { messageOf, UsageError } from '../errors.ts';
import { type JobOptions, jobOptionsSchema } from '../job/schema.ts';
import { openPlain } from '../storage/files.ts';
import { nameKey } from '../storage/names.ts';
import type { ModelIdentity } from './model-identity.ts';

/** In the output folder: a line of JSON for each image of which maps were made, the last one counts. */
export const LEDGER = '.lotus-worker.jsonl';

/** About a million lines. A larger file is not one of ours. */
const MAX_BYTES = 2 ** 30;

const fileSchema = z.object({
  /** Seen from the output folder. */
  file: z.string(),
  bytes: z.number(),
  mtime_ms: z.number(),
});

/** What is known of a file without reading it; when that changes, it is another one. */
export type KnownFile = z.infer<typeof fileSchema>;

const entrySchema = z.object({
  input: fileSchema,
  outputs: z.array(fileSchema),
  options: z.record(z.string(), z.unknown()),
  model: z.record(z.string(), z.unknown()),
  polarity: z.string().nullable(),
});

/** An image of which maps were made: from which file, as which files, and how. */
export type Entry = z.infer<typeof entrySchema>;

/** How maps are made: what has to be the same for one to be taken for another. */
export interface How {
  readonly options: JobOptions;
  readonly model: ModelIdentity;
}

/**
 * What was made in an output folder, so that a later run need not make it again. An image is written down when all of
 * its files are there, so what a run that was killed has left counts for nothing.
 */
export class Ledger {
  readonly #output: string;
  readonly #byFile = new Map<string, Entry>();
  /** What a run that was killed has written last may be half a line. */
  #isWhole = false;

  private constructor(output: string) {
    this.#output = output;
  }

  /**
   * @param output the output folder, as it really is.
   * @throws UsageError when there is something in its place that cannot be read.
   */
  static async open(output: string): Promise<Ledger> {
    const ledger = new Ledger(output);
    const file = path.join(output, LEDGER);
    try {
      await ledger.#read(file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ledger;
      const what = `What was made in ${output} cannot be known: ${messageOf(error)}`;
      throw new UsageError(`${what}. Remove ${file}, and all of it is computed again`, {
        cause: error,
      });
    }
    return ledger;
  }

  async #read(file: string): Promise<void> {
    const handle = await openPlain(file, MAX_BYTES);
    try {
      for await (const line of handle.readLines()) {
        const entry = entryOf(line);
        if (entry !== null) this.#enter(entry);
      }
    } finally {
      await handle.close();
    }
  }

  #enter(entry: Entry): void {
    for (const { file } of entry.outputs) this.#byFile.set(this.#key(file), entry);
  }

  #key(file: string): string {
    return nameKey(path.resolve(this.#output, file));
  }

  /** An input as it is written down: where it lies, seen from here. */
  inputName(file: string): string {
    return path.relative(this.#output, file);
  }

  /** Whether a file was made of another image, which is still there. */
  isOfAnother(file: string, input: string): boolean {
    const name = this.#byFile.get(this.#key(file))?.input.file;
    if (name === undefined || name === this.inputName(input)) return false;
    return existsSync(path.resolve(this.#output, name));
  }

  /**
   * What was written down of an image's files, when all of them are there as they were made, of the same image, and
   * would be made in the same way.
   *
   * @param input the image, as it really lies.
   */
  async find(input: string, files: readonly string[], how: How): Promise<Entry | null> {
    const wanted = new Set(files.map((file) => this.#key(file)));
    const [entry, ...others] = new Set([...wanted].map((file) => this.#byFile.get(file)));
    if (entry === undefined || others.length > 0) return null;
    if (entry.input.file !== this.inputName(input) || !isMadeSo(entry, how)) return null;
    const outputs = entry.outputs.filter(({ file }) => wanted.has(this.#key(file)));
    const unchanged = [entry.input, ...outputs].map((known) => this.#isUnchanged(known));
    return (await Promise.all(unchanged)).includes(false) ? null : entry;
  }

  async #isUnchanged(known: KnownFile): Promise<boolean> {
    const now = await this.know(path.resolve(this.#output, known.file)).catch(() => null);
    return now?.bytes === known.bytes && now.mtime_ms === known.mtime_ms;
  }

  /**
   * A file as it is now.
   *
   * @throws the system's error.
   */
  async know(file: string): Promise<KnownFile> {
    const { size, mtimeMs } = await stat(file);
    return { file: this.inputName(file), bytes: size, mtime_ms: Math.round(mtimeMs) };
  }

  /**
   * Write down that an image's files were made.
   *
   * @throws the system's error; the files are there all the same.
   */
  async add(entry: Entry): Promise<void> {
    this.#enter(entry);
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW } = constants;
    const handle = await open(
      path.join(this.#output, LEDGER),
      O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW,
    );
    try {
      const line = `${JSON.stringify(entry)}\n`;
      const { size } = await handle.stat();
      const isApart = this.#isWhole || size === 0;
      this.#isWhole = true;
      await handle.writeFile(isApart ? line : `\n${line}`);
    } finally {
      await handle.close();
    }
  }
}

function entryOf(line: string): Entry | null {
  try {
    const parsed = entrySchema.safeParse(JSON.parse(line));
    return parsed.success ? parsed.data : null;
  } catch {
    return null; // empty, half a line, or not ours
  }
}

function isMadeSo(entry: Entry, { options, model }: How): boolean {
  const parsed = jobOptionsSchema.safeParse(entry.options);
  if (!parsed.success) return false;
  const before = [ofThePicture(parsed.data), entry.model];
  return JSON.stringify(before) === JSON.stringify([ofThePicture(options), model]);
}

/** The options as they are written down: which formats there are is seen by the files. */
export function ofThePicture(options: JobOptions): Omit<JobOptions, 'output_formats'> {
  const { output_formats: _, ...rest } = options;
  return rest;
}
