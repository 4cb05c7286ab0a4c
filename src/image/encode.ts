import type { DecodedImage } from './decode.ts';
import { sharp } from './libvips.ts';

/** Encode 8-bit grey pixels, rows top to bottom, as a grey PNG. The same pixels give the same bytes. */
export async function encodeGreyPng(
  pixels: Uint8Array,
  width: number,
  height: number,
): Promise<Buffer> {
  return await sharp(pixels, { raw: { width, height, channels: 1 } })
    .toColourspace('b-w') // one channel; sharp would write three
    .png()
    .toBuffer();
}

/** Encode 16-bit grey pixels, little-endian, rows top to bottom, as a grey PNG. The same pixels give the same bytes. */
export async function encodeGrey16Png(
  pixels: Uint8Array,
  width: number,
  height: number,
): Promise<Buffer> {
  // A copy, for a view of 16 bits has to begin at an even byte; every machine that runs us is little-endian.
  const values = new Uint16Array(Uint8Array.from(pixels).buffer);
  return await sharp(values, { raw: { width, height, channels: 1 } })
    .toColourspace('grey16')
    .png()
    .toBuffer();
}

/** Encode RGB pixels as a PNG. The same pixels give the same bytes. */
export async function encodeRgbPng({ pixels, width, height }: DecodedImage): Promise<Buffer> {
  return await sharp(pixels, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}
