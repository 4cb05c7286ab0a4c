import { turned } from '../exif.ts';
import { exifSegment, segment, withSegments } from '../jpeg.ts';
import {
  chunk,
  GREY,
  makeBlack,
  makePng,
  PALETTE,
  profileChunk,
  RGBA,
  withChunks,
} from '../png.ts';
import { canvas, EXIF, imageOf, makeAnimation, makeWebp, riffChunk } from '../webp.ts';
import { all, dot, type ImageCase, jpeg, picture, png, progressive } from './sources.ts';

const frameControl = Buffer.alloc(26);
const grey = { width: 8, height: 8, depth: 8, colourType: GREY, rows: Buffer.alloc(9 * 8) };
const profile = await picture().withIccProfile('p3').png().toBuffer();

/** A file whose data are in chunks of one byte. */
function inSmallChunks(file: Buffer): Buffer {
  const start = file.indexOf('IDAT') - 4;
  const length = file.readUInt32BE(start);
  const data = file.subarray(start + 8, start + 8 + length);
  const chunks = Array.from(data, (byte) => chunk('IDAT', Buffer.from([byte])));
  return Buffer.concat([file.subarray(0, start), ...chunks, chunk('IEND')]);
}

/** Unusual, legal, and answered. */
export const ODD: readonly ImageCase[] = all(null, {
  'one pixel': makeBlack(1, 1),
  'a PNG of 1 bit': makeBlack(17, 13, 1),
  'a PNG of 16 bits': makeBlack(17, 13, 16),
  'an interlaced PNG': await picture().png({ progressive: true }).toBuffer(),
  'an interlaced PNG of 1 x 1': makePng({ ...grey, width: 1, height: 1, interlaced: true }),
  'a PNG with a palette': await picture().png({ palette: true }).toBuffer(),
  'a PNG whose palette is too short': makePng({
    ...grey,
    colourType: PALETTE,
    between: [chunk('PLTE', Buffer.from([1, 2, 3]))],
  }),
  'a PNG that is all transparent': makeBlack(8, 8, 8, RGBA),
  'a PNG in chunks of one byte': inSmallChunks(png),
  'a PNG with empty data chunks': withChunks(chunk('IDAT'), chunk('IDAT')),
  'an animated PNG': withChunks(
    chunk('acTL', Buffer.from([0, 0, 0, 2, 0, 0, 0, 0])),
    chunk('fcTL', frameControl),
  ),
  'a PNG of a wide gamut': profile,
  'a PNG with a profile that is none': withChunks(profileChunk(Buffer.from('no profile'))),
  'a PNG with a profile that is not compressed': withChunks(chunk('iCCP', Buffer.from('profile'))),
  'a PNG with EXIF that says it is turned': withChunks(chunk('eXIf', turned(6))),
  'a progressive JPEG': progressive,
  'a grey JPEG': await picture().toColourspace('b-w').jpeg().toBuffer(),
  'a CMYK JPEG': await picture().toColourspace('cmyk').jpeg().toBuffer(),
  'a JPEG whose channels Adobe says are RGB': withSegments(
    jpeg,
    segment(0xee, Buffer.from('Adobe\0\x64\0\0\0\0\0', 'latin1')),
  ),
  'a JPEG that says it is turned': withSegments(jpeg, exifSegment(turned(6))),
  'a JPEG that says it is turned by 99': withSegments(jpeg, exifSegment(turned(99))),
  'a JPEG with EXIF that is cut off': withSegments(jpeg, exifSegment(turned(6).subarray(0, 12))),
  'a JPEG with fill bytes': withSegments(jpeg, Buffer.alloc(1000, 0xff)),
  'a JPEG with junk between its segments': withSegments(jpeg, segment(0xfe), Buffer.from('junk')),
  'a lossless WebP': dot,
  'a WebP with alpha': await picture().ensureAlpha(0.5).webp().toBuffer(),
  'an animated WebP': makeAnimation(dot, 1, 3),
  'a WebP that says it is turned': makeWebp(
    canvas(EXIF, 1, 1),
    imageOf(dot),
    riffChunk('EXIF', turned(6)),
  ),
  'a WebP with an unknown chunk': makeWebp(
    canvas(0, 1, 1),
    riffChunk('ABCD', Buffer.alloc(7)),
    imageOf(dot),
  ),
});
