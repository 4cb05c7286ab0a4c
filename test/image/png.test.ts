import { describe, expect, it } from 'vitest';
import { barePng } from '../../src/image/png.ts';
import { turned } from '../corpus/exif.ts';
import { chunk, PNG_SIGNATURE, profileChunk, withChunks } from '../corpus/png.ts';

/** The types and lengths of a PNG's chunks. */
function chunksOf(png: Buffer): string[] {
  expect(png.subarray(0, 8)).toEqual(PNG_SIGNATURE);
  const found: string[] = [];
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    found.push(`${png.toString('latin1', at + 4, at + 8)} ${png.readUInt32BE(at)}`);
  }
  return found;
}

const withWrongChecksum = (whole: Buffer) => {
  const changed = Buffer.from(whole);
  changed.writeUInt8(changed.readUInt8(changed.length - 1) ^ 1, changed.length - 1);
  return changed;
};

const plain = withChunks();
const data = chunksOf(plain).find((name) => name.startsWith('IDAT')) ?? '';
const text = Buffer.alloc(100_000, 'a\0b');
const profile = Buffer.alloc(3_000, 'profile');
const packedProfile = profileChunk(profile);

describe('what a decoder gets of a PNG', () => {
  it('is its header, what its colours are, and its data', () => {
    const png = withChunks(
      chunk('tEXt', text),
      chunk('gAMA', Buffer.from([0, 0, 0xb1, 0x8f])),
      chunk('abCd', text),
      packedProfile,
      chunk('zTXt', text),
      chunk('acTL', Buffer.alloc(8)),
      chunk('fcTL', Buffer.alloc(26)),
    );
    const { bytes, width, height } = barePng(Buffer.concat([png, Buffer.from('trailer')]));
    expect({ width, height }).toEqual({ width: 8, height: 8 });
    expect(chunksOf(bytes)).toEqual([
      'IHDR 13',
      'gAMA 4',
      `iCCP ${packedProfile.length - 12}`,
      data,
      'IEND 0',
    ]);
    expect(png.length - bytes.length).toBeGreaterThan(3 * text.length);
  });

  it('is of each kind of chunk the first', () => {
    const gamma = (last: number) => chunk('gAMA', Buffer.from([0, 0, 0, last]));
    const { bytes } = barePng(withChunks(gamma(1), gamma(2), gamma(3)));
    expect(bytes.includes(gamma(1))).toBe(true);
    expect(chunksOf(bytes)).toEqual(['IHDR 13', 'gAMA 4', data, 'IEND 0']);
  });

  it('is nothing behind its data: no text, and no frame of an animation', () => {
    const later = Buffer.concat([chunk('fdAT', text), chunk('tEXt', text), chunk('IDAT', text)]);
    const png = Buffer.concat([plain.subarray(0, -12), later, plain.subarray(-12)]);
    expect(barePng(png).bytes).toEqual(plain);
  });

  it('is its orientation, written anew, and nothing else of its EXIF', () => {
    const exif = Buffer.concat([turned(6), Buffer.alloc(100_000)]);
    const { bytes } = barePng(withChunks(chunk('eXIf', exif)));
    expect(chunksOf(bytes)).toEqual(['IHDR 13', 'eXIf 26', data, 'IEND 0']);
    const upright = barePng(withChunks(chunk('eXIf', turned(1))));
    expect(upright.bytes).toEqual(plain);
  });

  it('is no orientation whose checksum is wrong, as every reader has it', () => {
    const { bytes } = barePng(withChunks(withWrongChecksum(chunk('eXIf', turned(6)))));
    expect(bytes).toEqual(plain);
  });

  it('is what it was where it decodes it: a wrong checksum is for the decoder to find', () => {
    const wrong = withWrongChecksum(chunk('gAMA', Buffer.from([0, 0, 0xb1, 0x8f])));
    expect(barePng(withChunks(wrong)).bytes.includes(wrong)).toBe(true);
    const { bytes } = barePng(withChunks(withWrongChecksum(chunk('tEXt', text))));
    expect(bytes).toEqual(plain);
  });
});
