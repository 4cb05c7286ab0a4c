/**
 * What a decoder gets of a file: the image, and nothing that a stranger has put beside it.
 *
 * Metadata is where decoders are taken in: EXIF whose entries all point at the same megabyte, compressed texts,
 * a million application segments, the frames of an animation that are walked from the first one for each. None
 * of it is needed, so none of it gets there: `jpeg.ts`, `png.ts` and `webp.ts` walk a file's segments once, copy
 * what makes the picture, and tell its size, all of it in a time that grows with the file and not faster.
 */
import { LotusError } from '../errors.ts';

/** The product's limit, on the product of the edges: 4096 x 4096. */
export const MAX_PIXELS = 4096 * 4096;

/** An image file without its metadata, but for orientation and colour profile. */
export interface Bare {
  readonly bytes: Buffer;
  /** By its header, before EXIF orientation, pixels. */
  readonly width: number;
  readonly height: number;
}

/**
 * Of a colour profile, bytes. Press profiles, the largest that cameras and programs embed, have one or two
 * million.
 */
export const MAX_PROFILE_BYTES = 4 * 2 ** 20;

/**
 * Segments that are walked. A photograph has a hundred, a PNG with one for each row of the tallest picture 65,535;
 * a file of nothing else can have millions, and each costs a little.
 */
const MAX_PARTS = 100_000;

/** The parts of a file, as long as they are not too many. */
export function* bounded<Part>(parts: Iterable<Part>): Generator<Part> {
  let count = 0;
  for (const part of parts) {
    count += 1;
    if (count > MAX_PARTS) {
      throw new LotusError(
        'invalid_image',
        `The image's file has more than ${MAX_PARTS} parts. Save it again with an ordinary encoder.`,
      );
    }
    yield part;
  }
}

export function profileTooLarge(): LotusError {
  return new LotusError(
    'invalid_image',
    `The image's colour profile has more than ${MAX_PROFILE_BYTES} bytes. Convert it to sRGB.`,
  );
}
