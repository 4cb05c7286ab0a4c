import { deflateSync } from 'node:zlib';
import { makeHeavy, makeLoop } from '../exif.ts';
import {
  exifSegment,
  makeArithmetic,
  makeProgressive,
  profileSegment,
  segment,
  withSegments,
} from '../jpeg.ts';
import { chunk, GREY, makePng, profileChunk, withChunks } from '../png.ts';
import { canvas, EXIF, imageOf, makeAnimation, makeWebp, riffChunk } from '../webp.ts';
import { all, dot, type ImageCase, jpeg, text } from './sources.ts';

const MB = 2 ** 20;
const zeros = deflateSync(Buffer.alloc(256 * MB), { level: 9 }); // a quarter of a megabyte
const profileOf5MB = Array.from({ length: 80 }, (_, i) =>
  profileSegment(i + 1, 80, Buffer.alloc(65_500)),
);
const repeated = (part: Buffer, times: number) => Buffer.alloc(part.length * times, part);

/** The most that a bomb may take. */
interface Bound {
  /** By which the process grows, above what it has when the file is there. */
  readonly grownMb: number;
  /** That the decoder gets. */
  readonly bytes: number;
}

export interface Bomb extends ImageCase {
  readonly most: Bound;
}

function bounded(
  most: Bound,
  code: ImageCase['code'],
  files: Readonly<Record<string, Buffer>>,
): Bomb[] {
  return all(code, files).map((file) => ({ ...file, most }));
}

/** Little that becomes much: memory, or time. */
export const BOMBS: readonly Bomb[] = [
  ...bounded({ grownMb: 16, bytes: 0 }, 'invalid_image', {
    'a JPEG of 4096 x 4096 with 800 scans': makeProgressive(4096, 4096, 800),
    'a JPEG of 4096 x 4096 in 57 scans of arithmetic coding': makeArithmetic(4096, 4096, 4, 57),
    'a JPEG with 2 million markers out of place': withSegments(
      jpeg,
      repeated(Buffer.from([0xff, 0]), 2_000_000),
    ),
    'a JPEG with a profile of 5 MB': withSegments(jpeg, ...profileOf5MB),
    'a JPEG with 200000 application segments': withSegments(jpeg, repeated(segment(0xe1), 200_000)),
    'a JPEG with 2000 tables': withSegments(jpeg, repeated(segment(0xdd, Buffer.alloc(2)), 2_000)),
    'a PNG with a profile of 256 MB': withChunks(
      chunk('iCCP', Buffer.concat([text('profile\0\0'), zeros])),
    ),
    'a PNG with 200000 chunks': withChunks(repeated(chunk('abCd'), 200_000)),
    'a WebP with a profile of 5 MB': makeWebp(
      canvas(0x20, 1, 1),
      riffChunk('ICCP', Buffer.alloc(5 * MB)),
      imageOf(dot),
    ),
    'an animation of 200000 frames': makeAnimation(dot, 1, 200_000),
  }),
  ...bounded({ grownMb: 120, bytes: 70_000 }, null, {
    'a JPEG of 4096 x 4096 with 100 scans': makeProgressive(4096, 4096, 100),
  }),
  ...bounded({ grownMb: 250, bytes: 500 }, null, {
    'a JPEG of 4096 x 4096 in 13 scans of arithmetic coding': makeArithmetic(4096, 4096, 4, 13),
  }),
  ...bounded({ grownMb: 16, bytes: 70_000 }, null, {
    'a PNG with 64 MB behind its rows': makePng({
      width: 8,
      height: 8,
      depth: 8,
      colourType: GREY,
      rows: Buffer.alloc(64 * MB),
    }),
  }),
  ...bounded({ grownMb: 16, bytes: 4_000 }, null, {
    'a PNG with a profile of 3 MB that is none': withChunks(profileChunk(Buffer.alloc(3 * MB))),
  }),
  // Of these the decoder gets the picture alone: a JPEG of 716 bytes, or less.
  ...bounded({ grownMb: 16, bytes: 800 }, null, {
    'a JPEG with heavy EXIF': withSegments(jpeg, exifSegment(makeHeavy(65_000))),
    'a JPEG with EXIF in a loop': withSegments(jpeg, exifSegment(makeLoop())),
    'a JPEG with 50000 application segments': withSegments(jpeg, repeated(segment(0xe1), 50_000)),
    'a PNG with a text of 256 MB': withChunks(
      chunk('zTXt', Buffer.concat([text('Comment\0\0'), zeros])),
    ),
    'a PNG with an international text of 256 MB': withChunks(
      chunk('iTXt', Buffer.concat([text('Comment\0\x01\0\0\0'), zeros])),
    ),
    'a PNG with heavy EXIF': withChunks(chunk('eXIf', makeHeavy(2 * MB))),
    'a PNG with EXIF in a loop': withChunks(chunk('eXIf', makeLoop())),
    'a PNG with 50000 texts': withChunks(repeated(chunk('tEXt', text('a\0b')), 50_000)),
    'a WebP with heavy EXIF': makeWebp(
      canvas(EXIF, 1, 1),
      imageOf(dot),
      riffChunk('EXIF', makeHeavy(2 * MB)),
    ),
    'an animation of 50000 frames': makeAnimation(dot, 1, 50_000),
  }),
];
