import { createHash } from 'node:crypto';
import path from 'node:path';
import { z } from 'zod';
import type { Answer } from '../job/answer.ts';
import { fitAnswer } from '../job/fit.ts';
import { isUsableId } from '../runpod/job-id.ts';
import type { Kept } from '../runpod/outbox.ts';
import { openPlain } from '../storage/files.ts';
import { pictureBeside } from './contents.ts';

/** Far more than an answer without its picture has; warnings and error texts are a few lines. */
export const MAX_RECORD_BYTES = 65_536;

/** Far more than the platform takes of a picture: one that is larger is none of ours. */
const MAX_PICTURE_BYTES = 100_000_000;

/** What changes the meaning of a record changes this. */
const VERSION = 1;

/** What makes an output an answer with a picture. */
const withPicture = z.looseObject({
  image_base64: z.string(),
  file_path: z.string().nullable(),
  warnings: z.array(z.string()),
});

/** Such an answer in its record. */
const lacksPicture = withPicture.extend({ image_base64: z.null(), file_path: z.string() });

/**
 * A result as it lies on the volume: small, because the picture is there already and is read back from there. It has no
 * key and no input in it.
 */
const recordSchema = z
  .strictObject({
    version: z.literal(VERSION),
    job: z.string().refine(isUsableId),
    /** The worker that took the job: the platform's URL for the result has its id in it. */
    worker: z.string().refine(isUsableId),
    /** What the handler returned, without the picture. */
    output: z.unknown(),
    /** Null where the answer has none. */
    picture: z
      .strictObject({
        /** In the folder of pictures: the volume need not be mounted where it was. */
        name: z.string().refine((name) => name === path.basename(name) && !name.startsWith('.')),
        /** Of its text in base64. */
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
      })
      .nullable(),
  })
  .refine(({ output, picture }) => picture === null || lacksPicture.safeParse(output).success);
export type ResultRecord = z.infer<typeof recordSchema>;

/** The record of a result. Its fields stay in their order, so that it goes out as it would have. */
export function recordOf({ jobId, output }: Kept, workerId: string): ResultRecord {
  const record = { version: VERSION, job: jobId, worker: workerId } as const;
  if (!hasPicture(output)) return { ...record, output, picture: null };
  const { image_base64, file_path } = output;
  if (file_path === null) {
    return { ...record, output: withoutPicture(output, 'was never saved'), picture: null };
  }
  const picture = { name: path.basename(file_path), sha256: digestOf(image_base64) };
  return { ...record, output: { ...output, image_base64: null }, picture };
}

function hasPicture(output: unknown): output is z.infer<typeof withPicture> {
  return withPicture.safeParse(output).success;
}

/**
 * Reads a record's text.
 *
 * @returns null when a later version of this program wrote it.
 * @throws ZodError or SyntaxError when it is damaged.
 */
export function parseRecord(text: string): ResultRecord | null {
  const given: unknown = JSON.parse(text);
  const { data } = z.looseObject({ version: z.int() }).safeParse(given);
  return data !== undefined && data.version > VERSION ? null : recordSchema.parse(given);
}

/**
 * The output that a record stands for, to the byte, as long as its picture is as it was, beside the record or where it
 * was saved; else without the picture, and with a warning that says why.
 *
 * @param file the record's.
 * @param dir the folder of pictures.
 * @param maxBytes how many bytes of JSON the output may have.
 */
export async function outputOf(
  { output, picture }: ResultRecord,
  file: string,
  dir: string,
  maxBytes: number,
): Promise<unknown> {
  if (picture === null) return output;
  const answer = output as Answer; // what more there is in it goes out as it was written
  const beside = await readPicture(pictureBeside(file), picture.sha256);
  const found =
    'base64' in beside ? beside : await readPicture(path.join(dir, picture.name), picture.sha256);
  if ('problem' in found) return withoutPicture(answer, found.problem);
  return fitAnswer({ ...answer, image_base64: found.base64 }, maxBytes);
}

async function readPicture(
  file: string,
  sha256: string,
): Promise<{ base64: string } | { problem: string }> {
  try {
    await using handle = await openPlain(file, MAX_PICTURE_BYTES);
    const base64 = (await handle.readFile()).toString('base64');
    return digestOf(base64) === sha256 ? { base64 } : { problem: 'has changed' };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return { problem: code === 'ENOENT' ? 'is gone' : `cannot be read (${code ?? 'no picture'})` };
  }
}

function withoutPicture<T extends { warnings: string[] }>(answer: T, why: string) {
  const warning = `image_base64 is null: the worker that made the map has ended, and its picture ${why}.`;
  return { ...answer, image_base64: null, warnings: [...answer.warnings, warning] };
}

/** Of the text, which has no need to be decoded for it. */
function digestOf(base64: string): string {
  return createHash('sha256').update(base64, 'latin1').digest('hex');
}
