/** PNGs by hand: sharp does not write every kind, and not the broken ones. */
import { crc32, deflateSync } from 'node:zlib';

export const PNG_SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');

/** The colour types of a PNG's header. */
export const GREY = 0;
export const RGB = 2;
export const PALETTE = 3;
export const GREY_ALPHA = 4;
export const RGBA = 6;

const CHANNELS: Readonly<Record<number, number>> = {
  [GREY]: 1,
  [RGB]: 3,
  [PALETTE]: 1,
  [GREY_ALPHA]: 2,
  [RGBA]: 4,
};

export function chunk(type: string, data: Uint8Array = new Uint8Array(0)): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(data.length, 0);
  ends.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
}

export interface Png {
  width: number;
  height: number;
  depth: number;
  colourType: number;
  /** Rows of samples, each with a filter byte of 0 in front. */
  rows: Uint8Array;
  interlaced?: boolean;
  /** Chunks between the header and the data. */
  between?: Buffer[];
}

export function header({ width, height, depth, colourType, interlaced = false }: Png): Buffer {
  const data = Buffer.alloc(13);
  data.writeUInt32BE(width, 0);
  data.writeUInt32BE(height, 4);
  data.set([depth, colourType, 0, 0, interlaced ? 1 : 0], 8);
  return chunk('IHDR', data);
}

export function makePng(png: Png): Buffer {
  return Buffer.concat([
    PNG_SIGNATURE,
    header(png),
    ...(png.between ?? []),
    chunk('IDAT', deflateSync(png.rows)),
    chunk('IEND'),
  ]);
}

/** A grey PNG with a header, and next to nothing behind it. */
export const makeHollow = (width: number, height: number) =>
  makePng({ width, height, depth: 8, colourType: GREY, rows: new Uint8Array(1) });

/** A black one, whole. */
export function makeBlack(width: number, height: number, depth = 8, colourType = GREY): Buffer {
  const bits = width * depth * (CHANNELS[colourType] ?? 1);
  const rows = new Uint8Array((Math.ceil(bits / 8) + 1) * height);
  return makePng({ width, height, depth, colourType, rows });
}

/** A small one with chunks of the caller's between its header and its data. */
export const withChunks = (...between: Buffer[]) =>
  makePng({
    width: 8,
    height: 8,
    depth: 8,
    colourType: RGB,
    rows: new Uint8Array((8 * 3 + 1) * 8),
    between,
  });

export const profileChunk = (profile: Uint8Array) =>
  chunk('iCCP', Buffer.concat([Buffer.from('profile\0\0', 'latin1'), deflateSync(profile)]));
