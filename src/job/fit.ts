import { LotusError } from '../errors.ts';
import {
  type Answer,
  failureOf,
  type ImageAnswer,
  type ImagesAnswer,
  isFailure,
} from './answer.ts';

/**
 * An answer as it may go out: one that is larger than the platform takes goes without its picture, which is saved, and
 * says so.
 *
 * @param maxBytes how many bytes of JSON it may have.
 * @throws LotusError `internal` when the picture can go neither way.
 */
export function fitAnswer(answer: Answer, maxBytes: number): Answer {
  const bytes = bytesOf(answer);
  if (bytes <= maxBytes || answer.image_base64 === null) return answer;
  if (answer.file_path === null) throw goesNowhere(answer, bytes, maxBytes);
  return withoutPicture(answer, bytes, maxBytes);
}

/**
 * The same of several images: the pictures are left out from the largest on, until the answer is small enough. One that
 * can go neither way becomes that image's error.
 */
export function fitImages(answer: ImagesAnswer, maxBytes: number): ImagesAnswer {
  let { images } = answer;
  while (true) {
    const fitted = { ...answer, images, failed: images.filter(isFailure).length };
    const bytes = bytesOfAll(fitted);
    const largest = largestOf(images);
    if (bytes <= maxBytes || largest === null) return fitted;
    images = images.with(largest.at, leftOut(largest.image, bytes, maxBytes));
  }
}

/** The image with the largest picture that is in the answer; null when there is none. */
function largestOf(images: readonly ImageAnswer[]): { at: number; image: Answer } | null {
  let largest: { at: number; image: Answer } | null = null;
  for (const [at, image] of images.entries()) {
    if (isFailure(image) || image.image_base64 === null) continue;
    if (largest === null || pictureBytes(image) > pictureBytes(largest.image)) {
      largest = { at, image };
    }
  }
  return largest;
}

function leftOut(image: { id?: string } & Answer, bytes: number, maxBytes: number): ImageAnswer {
  if (image.file_path !== null) return withoutPicture(image, bytes, maxBytes);
  const { id } = image;
  return {
    ...(id !== undefined && { id }),
    ...failureOf(goesNowhere(image, bytes, maxBytes)),
  };
}

function goesNowhere({ warnings }: Answer, bytes: number, maxBytes: number): LotusError {
  return new LotusError(
    'internal',
    `The map was made, but its picture is too large to be sent, ${bytes} bytes of ${maxBytes}, and could not be` +
      ` saved: ${warnings.join('; ')}`,
  );
}

function withoutPicture<A extends Answer>(answer: A, bytes: number, maxBytes: number): A {
  const warning =
    `image_base64 is null: the answer would have ${bytes} bytes, and at most ${maxBytes} are taken.` +
    ' The picture is in file_path; a smaller one (output_processing_res) fits.';
  return { ...answer, image_base64: null, warnings: [...answer.warnings, warning] };
}

/** Without making the text: a picture in base64 is one byte a character and needs no escapes. */
function bytesOf(answer: Answer): number {
  return jsonBytes({ ...answer, image_base64: '' }) + pictureBytes(answer);
}

function bytesOfAll({ images, ...rest }: ImagesAnswer): number {
  const commas = Math.max(0, images.length - 1);
  return images.reduce(
    (sum, image) => sum + (isFailure(image) ? jsonBytes(image) : bytesOf(image)),
    jsonBytes({ images: [], ...rest }) + commas,
  );
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

function pictureBytes({ image_base64 }: Answer): number {
  return image_base64?.length ?? 0;
}
