/** Ordinary images that the corpus is made of. */
import sharp from 'sharp';
import type { ErrorCode } from '../../../src/errors.ts';

/** One file, and how it must end. */
export interface ImageCase {
  readonly name: string;
  readonly bytes: Buffer;
  /** null: it is answered. */
  readonly code: ErrorCode | null;
}

/** Cases that end alike. */
export function all(code: ErrorCode | null, files: Readonly<Record<string, Buffer>>): ImageCase[] {
  return Object.entries(files).map(([name, bytes]) => ({ name, bytes, code }));
}

const WIDTH = 48;
const HEIGHT = 32;

/** No two corners alike, with some noise, so that every format has something to write. */
const pixels = Buffer.from(
  Array.from({ length: WIDTH * HEIGHT }, (_, i) => {
    const [x, y] = [i % WIDTH, Math.floor(i / WIDTH)];
    return [x * 5, y * 8, (x * 31 + y * 17) % 256];
  }).flat(),
);
export const picture = () => sharp(pixels, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } });

export const jpeg = await picture().jpeg().toBuffer();
export const progressive = await picture().jpeg({ progressive: true }).toBuffer();
export const png = await picture().png().toBuffer();
export const webp = await picture().webp().toBuffer();
export const lossless = await picture().webp({ lossless: true }).toBuffer();

/** A WebP of one pixel. */
export const dot = await sharp({ create: { width: 1, height: 1, channels: 3, background: '#842' } })
  .webp({ lossless: true })
  .toBuffer();

export const text = (content: string) => Buffer.from(content, 'latin1');
