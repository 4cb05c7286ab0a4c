import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodeImage } from '../../src/image/decode.ts';
import { bareJpeg } from '../../src/image/jpeg.ts';
import { turned } from '../corpus/exif.ts';
import {
  exifSegment,
  makeArithmetic,
  makeProgressive,
  profileSegment,
  segment,
  withSegments,
} from '../corpus/jpeg.ts';

const EDGE = 16;
const RAW = Buffer.from(Array.from({ length: EDGE * EDGE * 3 }, (_, i) => (i * i * 7) % 251));
const jpeg = await sharp(RAW, { raw: { width: EDGE, height: EDGE, channels: 3 } })
  .jpeg()
  .toBuffer();
const withoutEnd = jpeg.subarray(0, -2);
const APP1 = 0xe1;

const junk = Buffer.alloc(60_000, 'junk');

/** The markers of a JPEG of one scan, up to that scan's coded data, and how long each segment is. */
function segmentsOf(bytes: Buffer): string[] {
  const found: string[] = [];
  for (let at = 2; bytes[at] === 0xff; at += 2 + bytes.readUInt16BE(at + 2)) {
    found.push(`${bytes[at + 1]?.toString(16)} ${bytes.readUInt16BE(at + 2)}`);
    if (bytes[at + 1] === 0xda) break;
  }
  return found;
}

describe('what a decoder gets of a JPEG', () => {
  it('is its tables, its frame, its scan and its profile', () => {
    const profile = profileSegment(1, 1, Buffer.alloc(300));
    const gainMap = Buffer.concat([jpeg, junk]);
    const whole = withSegments(
      jpeg,
      segment(APP1, junk),
      segment(0xe2, junk),
      profile,
      segment(0xed, junk),
      segment(0xfe, junk),
      segment(0xe2, Buffer.from('MPF\0', 'latin1')),
    );
    const { bytes, width, height } = bareJpeg(Buffer.concat([whole, gainMap]));
    expect({ width, height }).toEqual({ width: EDGE, height: EDGE });
    expect(bytes).toEqual(withSegments(jpeg, profile));
  });

  it('is all of a picture that has nothing else', async () => {
    const progressive = await sharp(jpeg).jpeg({ progressive: true }).toBuffer();
    expect(bareJpeg(jpeg).bytes).toEqual(jpeg);
    expect(bareJpeg(progressive).bytes).toEqual(progressive);
  });

  it('is its orientation, written anew, and nothing else of its EXIF', () => {
    const exif = exifSegment(Buffer.concat([turned(6), junk]));
    const { bytes } = bareJpeg(withSegments(jpeg, exif, exifSegment(turned(3))));
    expect(segmentsOf(bytes)).toEqual(['e1 34', ...segmentsOf(jpeg)]);
    expect(bareJpeg(withSegments(jpeg, exifSegment(turned(1)))).bytes).toEqual(jpeg);
  });
});

describe('what lies behind a picture that lacks its end', () => {
  it.each([
    ['a segment of 0 bytes', Buffer.from([0xff, 0xe0, 0, 0])],
    ['a segment of 1 byte, and more', Buffer.from([0xff, APP1, 0, 1, 7, 7, 7])],
    ['a segment longer than the file', Buffer.from([0xff, APP1, 0xff, 0xff, 7])],
    ['a segment that has no length any more', Buffer.from([0xff, APP1, 0])],
    ['a whole segment', segment(APP1, Buffer.alloc(9))],
    ['a table of 0 bytes', Buffer.from([0xff, 0xdb, 0, 0, 1])],
    ['another picture', jpeg],
  ])('does not matter: %s', async (_what, tail) => {
    const { pixels } = await decodeImage(Buffer.concat([withoutEnd, tail]));
    expect(pixels.equals((await decodeImage(jpeg)).pixels)).toBe(true);
  });

  it('does not get to the decoder', () => {
    const tail = Buffer.concat([Buffer.from([0xff, 0xe0, 0, 0]), Buffer.alloc(100_000, jpeg)]);
    const { bytes } = bareJpeg(Buffer.concat([withoutEnd, tail]));
    expect(bytes).toHaveLength(withoutEnd.length + 2);
  });
});

describe('before any picture', () => {
  it.each([
    ['a segment of 1 bytes', Buffer.from([0xff, 0xe0, 0, 1])],
    ['another image begins', Buffer.from([0xff, 0xd8])],
  ])('it is damage: %s', (message, head) => {
    expect(() => bareJpeg(withSegments(jpeg, head))).toThrow(message);
  });
});

describe('the work of scans', () => {
  it('is bounded by the samples that they go over', () => {
    expect(bareJpeg(makeProgressive(4096, 4096, 100))).toMatchObject({ width: 4096 });
    const scan = segment(0xda, Buffer.from([4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 0, 0x0d]));
    const more = Buffer.alloc(26 * scan.length, scan);
    const frame = segment(0xc2, Buffer.from([8, 0x10, 0, 0x10, 0, 4])); // 4096 x 4096
    const inFour = Buffer.concat([Buffer.from([0xff, 0xd8]), frame, more]);
    expect(() => bareJpeg(inFour)).toThrow('of more than 1677721600 samples');
  });

  it.each([
    [2, 15], // the first is of both
    [4, 13],
  ])('is bounded far lower in arithmetic coding: %i components', (components, most) => {
    expect(bareJpeg(makeArithmetic(4096, 4096, components, most))).toMatchObject({ width: 4096 });
    expect(() => bareJpeg(makeArithmetic(4096, 4096, components, most + 1))).toThrow(
      'more than 268435456 samples in arithmetic coding',
    );
  });

  it('admits arithmetic coding, as Pillow does', async () => {
    const image = await decodeImage(makeArithmetic(64, 64, 3, 43));
    expect(image).toMatchObject({ width: 64, height: 64 });
  });
});

describe('markers out of place', () => {
  it.each([0x00, 0x01, 0xd0])('are counted as parts: ff %i', (marker) => {
    const pairs = Buffer.alloc(2 * 100_001, Buffer.from([0xff, marker]));
    expect(() => bareJpeg(withSegments(jpeg, pairs))).toThrow('more than 100000 parts');
  });

  it('are no reason to refuse a picture', async () => {
    const pairs = Buffer.from([0xff, 0, 0xff, 0xd3, 0xff, 1]);
    const between = withSegments(jpeg, segment(APP1, Buffer.alloc(4)), pairs);
    const { pixels } = await decodeImage(between);
    expect(pixels.equals((await decodeImage(jpeg)).pixels)).toBe(true);
  });
});
