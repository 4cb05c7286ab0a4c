import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { bareWebp } from '../../src/image/webp.ts';
import { turned } from '../corpus/exif.ts';
import { canvas, EXIF, imageOf, makeAnimation, makeWebp, riffChunk } from '../corpus/webp.ts';

const simple = await sharp({ create: { width: 1, height: 1, channels: 3, background: '#f00' } })
  .webp({ lossless: true })
  .toBuffer();

const XMP = 0x04;
const PROFILE = 0x20;
const junk = Buffer.alloc(100_000, 'junk');

/** The types and lengths of a WebP's chunks. */
function chunksOf(webp: Buffer): string[] {
  expect(webp.toString('latin1', 0, 4)).toBe('RIFF');
  expect(webp.readUInt32LE(4)).toBe(webp.length - 8);
  const found: string[] = [];
  for (let at = 12; at < webp.length; ) {
    const length = webp.readUInt32LE(at + 4);
    found.push(`${webp.toString('latin1', at, at + 4)} ${length}`);
    at += 8 + length + (length & 1);
  }
  return found;
}

const flagsOf = (webp: Buffer) => webp.readUInt8(20);
const image = chunksOf(simple)[0] ?? '';

describe('what a decoder gets of a WebP', () => {
  it('is a simple one as it is, without what lies behind it', () => {
    expect(bareWebp(Buffer.concat([simple, junk])).bytes).toEqual(simple);
  });

  it('is its canvas, its profile and its picture', () => {
    const webp = makeWebp(
      canvas(PROFILE | EXIF | XMP, 1, 1),
      riffChunk('abcd', junk),
      riffChunk('ICCP', Buffer.alloc(300)),
      imageOf(simple),
      riffChunk('EXIF', junk),
      riffChunk('XMP ', junk),
    );
    const { bytes, width, height } = bareWebp(webp);
    expect({ width, height }).toEqual({ width: 1, height: 1 });
    expect(chunksOf(bytes)).toEqual(['VP8X 10', 'ICCP 300', image]);
    expect(flagsOf(bytes)).toBe(PROFILE);
    expect(webp.length - bytes.length).toBeGreaterThan(3 * junk.length);
  });

  it('is of an animation one frame', () => {
    const webp = makeAnimation(simple, 1, 10_000);
    const { bytes } = bareWebp(webp);
    expect(chunksOf(bytes)).toEqual(chunksOf(makeAnimation(simple, 1, 1)));
    expect(webp.length / bytes.length).toBeGreaterThan(1_000);
  });

  it.each([
    ['as it should be', turned(6)],
    ['as in a JPEG', Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), turned(6)])],
  ])('is its orientation, written anew, and nothing else of its EXIF: %s', (_what, tiff) => {
    const exif = Buffer.concat([tiff, junk]);
    const { bytes } = bareWebp(
      makeWebp(canvas(EXIF | XMP, 1, 1), imageOf(simple), riffChunk('EXIF', exif)),
    );
    expect(chunksOf(bytes)).toEqual(['VP8X 10', image, 'EXIF 26']);
    expect(flagsOf(bytes)).toBe(EXIF);
  });
});
