import { createHash } from 'node:crypto';
import path from 'node:path';
import { z } from 'zod';
import type { Answer, ImageAnswer, ImagesAnswer } from '../job/answer.ts';
import { fitAnswer, fitImages } from '../job/fit.ts';
import { isUsableId } from '../runpod/job-id.ts';
import type { Kept } from '../runpod/outbox.ts';
import { openPlain } from '../storage/files.ts';
import { pictureBeside } from './contents.ts';

/** Far more than an answer without its pictures has; of sixteen images with all formats in a bucket it is 300 KB. */
export const MAX_RECORD_BYTES = 1_048_576;

/** Far more than the platform takes of a picture: one that is larger is none of ours. */
const MAX_PICTURE_BYTES = 100_000_000;

/** What changes the meaning of a record changes this. Most are of the first version, which older workers deliver too. */
const ONE_PICTURE = 1;
const SEVERAL_PICTURES = 2;

/** What makes an output an answer with a picture. */
const withPicture = z.looseObject({
  image_base64: z.string(),
  file_path: z.string().nullable(),
  warnings: z.array(z.string()),
});

/** Such an answer in its record. */
const lacksPicture = withPicture.extend({ image_base64: z.null(), file_path: z.string() });

const pictureSchema = z.strictObject({
  /** In the folder of pictures: the volume need not be mounted where it was. */
  name: z.string().refine((name) => name === path.basename(name) && !name.startsWith('.')),
  /** Of its text in base64. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
export type RecordPicture = z.infer<typeof pictureSchema>;

const common = {
  job: z.string().refine(isUsableId),
  /** The worker that took the job: the platform's URL for the result has its id in it. */
  worker: z.string().refine(isUsableId),
};

const onePicture = z
  .strictObject({
    version: z.literal(ONE_PICTURE),
    ...common,
    /** What the handler returned, without the picture. */
    output: z.unknown(),
    /** Null where the answer has none. */
    picture: pictureSchema.nullable(),
  })
  .refine(({ output, picture }) => picture === null || lacksPicture.safeParse(output).success);

/** An answer of several images. */
const withImages = z.looseObject({ images: z.array(z.unknown()) });

const severalPictures = z
  .strictObject({
    version: z.literal(SEVERAL_PICTURES),
    ...common,
    output: withImages,
    /** One an image; null where that has none. */
    pictures: z.array(pictureSchema.nullable()),
  })
  .refine(
    ({ output: { images }, pictures }) =>
      images.length === pictures.length &&
      images.every((image, i) => pictures[i] === null || lacksPicture.safeParse(image).success),
  );

/**
 * A result as it lies on the volume: small, because the pictures are there already and are read back from there. It has
 * no key and no input in it.
 */
const recordSchema = z.discriminatedUnion('version', [onePicture, severalPictures]);
export type ResultRecord = z.infer<typeof recordSchema>;

/** The record of a result. Its fields stay in their order, so that it goes out as it would have. */
export function recordOf({ jobId, output }: Kept, workerId: string): ResultRecord {
  const taken = { job: jobId, worker: workerId };
  const several = withImages.safeParse(output).data;
  if (several?.images.some(hasPicture)) {
    const apart = several.images.map(takeApart);
    return {
      version: SEVERAL_PICTURES,
      ...taken,
      output: { ...several, images: apart.map((one) => one.output) },
      pictures: apart.map((one) => one.picture),
    };
  }
  return { version: ONE_PICTURE, ...taken, ...takeApart(output) };
}

/** The pictures of a record, an image each. */
export function picturesOf(record: ResultRecord): readonly (RecordPicture | null)[] {
  return 'pictures' in record ? record.pictures : [record.picture];
}

/** An answer without its picture, and what that is. */
function takeApart(output: unknown): { output: unknown; picture: RecordPicture | null } {
  if (!hasPicture(output)) return { output, picture: null };
  const { image_base64, file_path } = output;
  if (file_path === null) {
    return { output: withoutPicture(output, 'was never saved'), picture: null };
  }
  const picture = { name: path.basename(file_path), sha256: digestOf(image_base64) };
  return { output: { ...output, image_base64: null }, picture };
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
  return data !== undefined && data.version > SEVERAL_PICTURES ? null : recordSchema.parse(given);
}

/**
 * The output that a record stands for, to the byte, as long as its pictures are as they were, beside the record or where
 * they were saved; else without them, and with a warning that says why.
 *
 * @param file the record's.
 * @param dir the folder of pictures.
 * @param maxBytes how many bytes of JSON the output may have.
 */
export async function outputOf(
  record: ResultRecord,
  file: string,
  dir: string,
  maxBytes: number,
): Promise<unknown> {
  // What more there is in an answer goes out as it was written.
  if ('picture' in record) {
    if (record.picture === null) return record.output;
    const beside = pictureBeside(file, 0);
    return fitAnswer(await putBack(record.output as Answer, record.picture, beside, dir), maxBytes);
  }
  const answer = record.output as unknown as ImagesAnswer;
  const images: ImageAnswer[] = [];
  for (const [at, image] of answer.images.entries()) {
    const picture = record.pictures[at] ?? null;
    const beside = pictureBeside(file, at);
    images.push(picture ? await putBack(image as Answer, picture, beside, dir) : image);
  }
  return fitImages({ ...answer, images }, maxBytes);
}

/** An answer with its picture, or with a warning. */
async function putBack(
  answer: Answer,
  { name, sha256 }: RecordPicture,
  beside: string,
  dir: string,
): Promise<Answer> {
  const linked = await readPicture(beside, sha256);
  const found = 'base64' in linked ? linked : await readPicture(path.join(dir, name), sha256);
  if ('problem' in found) return withoutPicture(answer, found.problem);
  return { ...answer, image_base64: found.base64 };
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
