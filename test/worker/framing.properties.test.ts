import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineFramer } from '../../src/worker/framing.ts';

const BOUND = 16;

/** Bytes in which lines end often, cut anywhere. */
const byte = fc.oneof(
  { weight: 1, arbitrary: fc.constant(0x0a) },
  { weight: 6, arbitrary: fc.nat(255) },
);
const chunks = fc.array(
  fc.array(byte, { maxLength: 24 }).map((bytes) => Buffer.from(bytes)),
  {
    maxLength: 24,
  },
);

/** By the definition: what is between newlines. The last is what has begun. */
function split(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  let start = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    if (bytes[at] !== 0x0a) continue;
    lines.push(bytes.subarray(start, at));
    start = at + 1;
  }
  return [...lines, bytes.subarray(start)];
}

describe('LineFramer, for any bytes in any chunks', () => {
  it('gives the lines of the bytes, and keeps what has begun', () => {
    fc.assert(
      fc.property(chunks, (pieces) => {
        const framer = new LineFramer();
        const lines = pieces.flatMap((piece) => framer.push(piece));
        expect([...lines, framer.rest()]).toEqual(split(Buffer.concat(pieces)));
      }),
      { numRuns: 500 },
    );
  });

  it('keeps no more than the bound, and refuses a line as soon as it is longer', () => {
    fc.assert(
      fc.property(chunks, (pieces) => {
        const framer = new LineFramer(BOUND);
        for (let n = 1; n <= pieces.length; n += 1) {
          const isTooLong = split(Buffer.concat(pieces.slice(0, n))).some(
            ({ length }) => length > BOUND,
          );
          const push = () => framer.push(pieces[n - 1] ?? Buffer.alloc(0));
          if (isTooLong) {
            expect(push).toThrow(RangeError);
            return;
          }
          push();
          expect(framer.rest().length).toBeLessThanOrEqual(BOUND);
        }
      }),
      { numRuns: 500 },
    );
  });
});
