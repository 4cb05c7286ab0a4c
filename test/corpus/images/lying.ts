import { segment, withEdges, withSegments } from '../jpeg.ts';
import { chunk, GREY, header, makeHollow, makePng, PNG_SIGNATURE, RGB } from '../png.ts';
import { canvas, imageOf, makeWebp, riffChunk } from '../webp.ts';
import { all, dot, type ImageCase, jpeg, png, webp } from './sources.ts';

const rows = Buffer.alloc(9 * 8);
const square = { width: 8, height: 8, depth: 8, colourType: GREY, rows };

/** A PNG whose header says something else. */
function withHeader(change: (data: Buffer) => void): Buffer {
  const bytes = Buffer.from(png);
  const data = bytes.subarray(16, 29);
  change(data);
  return Buffer.concat([bytes.subarray(0, 8), chunk('IHDR', data), bytes.subarray(33)]);
}

const cut = (file: Buffer, at: number, value: number) => {
  const bytes = Buffer.from(file);
  bytes.writeUInt32LE(value, at);
  return bytes;
};

/** Headers that say what is not so. */
export const LYING: readonly ImageCase[] = [
  ...all('invalid_image', {
    'a PNG of no width': makeHollow(0, 8),
    'a PNG of no height': makeHollow(8, 0),
    'a PNG that promises more rows than it has': withHeader((data) => data.writeUInt32BE(3000, 4)),
    'a PNG of 3 bits': withHeader((data) => data.writeUInt8(3, 8)),
    'a PNG of colour type 5': withHeader((data) => data.writeUInt8(5, 9)),
    'a PNG compressed by an unknown method': withHeader((data) => data.writeUInt8(7, 10)),
    'a PNG with a wrong checksum in its header': cut(png, 29, 0),
    'a PNG whose header is not the first chunk': Buffer.concat([
      PNG_SIGNATURE,
      chunk('IDAT', png.subarray(41, 60)),
      header(square),
    ]),
    'a PNG whose header is 4 GB long': Buffer.concat([PNG_SIGNATURE, Buffer.alloc(60, 0xff)]),
    'a PNG with a palette that is none': makePng({ ...square, colourType: 3 }),
    'a PNG whose data are no zlib': Buffer.concat([
      PNG_SIGNATURE,
      header(square),
      chunk('IDAT', Buffer.alloc(64, 0x55)),
      chunk('IEND'),
    ]),
    'a JPEG of no width': withEdges(jpeg, 0, 32),
    'a JPEG of no height': withEdges(jpeg, 48, 0),
    'a JPEG with a segment of one byte': withSegments(jpeg, Buffer.from([0xff, 0xe5, 0, 1])),
    'a JPEG with two frame headers': withSegments(
      jpeg,
      segment(0xc0, Buffer.from([8, 0, 8, 0, 8, 1, 1, 0x11, 0])),
    ),
    'a JPEG without a frame header': Buffer.from([0xff, 0xd8, 0xff, 0xd9, 0, 0]),
    'a JPEG within a JPEG': withSegments(jpeg, jpeg),
    'a WebP that says it is longer than it is': cut(webp, 4, webp.length),
    'a WebP that says it is 4 GB': cut(webp, 4, 0xfffffffe),
    'a WebP with a chunk of 4 GB': cut(webp, 16, 0xfffffff0),
    'a WebP without an image': makeWebp(canvas(0, 8, 8)),
    'a WebP whose canvas is not its image': makeWebp(canvas(0, 9, 9), imageOf(dot)),
    'a WebP animation without a frame': makeWebp(
      canvas(2, 8, 8),
      riffChunk('ANIM', Buffer.alloc(6)),
    ),
  }),
  ...all('image_too_large', {
    'a PNG of 2147483647 x 2147483647': makeHollow(0x7fffffff, 0x7fffffff),
    'a PNG of 4294967295 x 4294967295': makeHollow(0xffffffff, 0xffffffff),
    'a PNG of 60000 x 60000 without data': makeHollow(60_000, 60_000),
    'a JPEG of 65500 x 65500': withEdges(jpeg, 65_500, 65_500),
    'a JPEG of 65535 x 65535': withEdges(jpeg, 65_535, 65_535),
    'a WebP whose canvas is 16777216 x 16777216': makeWebp(
      canvas(0, 2 ** 24, 2 ** 24),
      imageOf(dot),
    ),
  }),
  // Pillow answers these too: the missing rows are grey, and of two headers the first one counts.
  ...all(null, {
    'a JPEG that promises more rows than it has': withEdges(jpeg, 48, 300),
    'a PNG with a second header': Buffer.concat([
      png.subarray(0, 33),
      header({ ...square, width: 60_000, height: 60_000, colourType: RGB }),
      png.subarray(33),
    ]),
  }),
];
