import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Pieces } from '../src/pieces.ts';

function piecesOf(...sizes: number[]): { pieces: Pieces; whole: Buffer } {
  const pieces = new Pieces();
  const whole = Buffer.from(
    Array.from({ length: sizes.reduce((sum, size) => sum + size, 0) }, (_, at) => at % 251),
  );
  let start = 0;
  for (const size of sizes) {
    pieces.add(whole.subarray(start, start + size));
    start += size;
  }
  return { pieces, whole };
}

describe('Pieces', () => {
  it('are joined in the order that they came in, whatever their sizes', () => {
    const size = fc.oneof(fc.nat(10), fc.constantFrom(16_383, 16_384, 65_535, 65_536, 70_000));
    fc.assert(
      fc.property(fc.array(size, { maxLength: 20 }), (sizes) => {
        const { pieces, whole } = piecesOf(...sizes);
        expect(pieces.bytes).toBe(whole.length);
        expect(pieces.join().equals(whole)).toBe(true);
        expect(pieces.areTooSmall).toBe(false);
      }),
      { numRuns: 50 },
    );
  });

  it('keep nothing of the bytes that they were cut from', () => {
    const pieces = new Pieces();
    const source = Buffer.from('abc');
    pieces.add(source);
    source.fill('x');
    expect(pieces.join().toString()).toBe('abc');
  });

  it('are too small when there are many more than their bytes need', () => {
    const pieces = new Pieces();
    const byte = Buffer.from('a');
    for (let n = 0; n < 100_000; n += 1) pieces.add(byte);
    expect(pieces.areTooSmall).toBe(false);
    for (let n = 0; n < 2000; n += 1) pieces.add(byte);
    expect(pieces.areTooSmall).toBe(true);
  });

  it('are not too small at the size that small servers send, however many', () => {
    const pieces = new Pieces();
    const piece = Buffer.alloc(256);
    for (let n = 0; n < 250_000; n += 1) pieces.add(piece); // 64 MB
    expect(pieces.areTooSmall).toBe(false);
  });
});
