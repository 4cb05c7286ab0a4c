import { sharp } from './libvips.ts';

/** What is encoded: rows top to bottom, of grey or RGB pixels. */
export interface Raw {
  readonly pixels: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
}

/** Encode 8-bit pixels as a PNG of as many channels. The same pixels give the same bytes. */
export async function encodePng({ pixels, ...raw }: Raw): Promise<Buffer> {
  return await sharp(pixels, { raw })
    .toColourspace(raw.channels === 1 ? 'b-w' : 'srgb') // sharp would write three channels of one
    .png()
    .toBuffer();
}

/** Encode 16-bit pixels, little-endian, as a PNG of as many channels. The same pixels give the same bytes. */
export async function encodePng16({ pixels, ...raw }: Raw): Promise<Buffer> {
  // A copy, for a view of 16 bits has to begin at an even byte; every machine that runs us is little-endian.
  const values = new Uint16Array(Uint8Array.from(pixels).buffer);
  return await sharp(values, { raw })
    .toColourspace(raw.channels === 1 ? 'grey16' : 'rgb16')
    .png()
    .toBuffer();
}
