import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { halfBlocks } from '../../src/cli/half-blocks.ts';

/** What a terminal shows: the colours of each half, null where they are the terminal's own. */
function shown(text: string): (string | null)[][] {
  let upper: string | null = null;
  let lower: string | null = null;
  return text
    .split('\n')
    .slice(0, -1)
    .flatMap((line) => {
      const [above, below]: [(string | null)[], (string | null)[]] = [[], []];
      for (const part of line.split('\x1b[').slice(1)) {
        const [, codes = '', blocks = ''] = /^([\d;]+)m(▀*)$/.exec(part) ?? [];
        const isReset = codes === '0';
        upper = isReset ? null : (/\b38;2;(\d+;\d+;\d+)/.exec(codes)?.[1] ?? upper);
        lower = isReset ? null : (/\b48;2;(\d+;\d+;\d+)/.exec(codes)?.[1] ?? lower);
        above.push(...Array(blocks.length).fill(upper));
        below.push(...Array(blocks.length).fill(lower));
      }
      return [above, below];
    });
}

const picture = fc
  .record({ width: fc.integer({ min: 1, max: 9 }), height: fc.integer({ min: 1, max: 9 }) })
  .chain(({ width, height }) => {
    const length = width * height * 3;
    // Few values, so that neighbours are often the same.
    const pixels = fc
      .array(fc.constantFrom(0, 7, 255), { minLength: length, maxLength: length })
      .map((values) => Buffer.from(values));
    return fc.record({ width: fc.constant(width), height: fc.constant(height), pixels });
  });

describe('halfBlocks', () => {
  it('shows two pixels in a character, the upper one in front of the lower one', () => {
    const pixels = Buffer.from([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7]);
    expect(halfBlocks({ pixels, width: 2, height: 2 })).toBe(
      '\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[38;2;0;255;0;48;2;9;8;7m▀\x1b[0m\n',
    );
  });

  it('leaves what is under the last row of an odd number as the terminal has it', () => {
    const pixels = Buffer.from([1, 2, 3]);
    expect(halfBlocks({ pixels, width: 1, height: 1 })).toBe('\x1b[38;2;1;2;3m▀\x1b[0m\n');
  });

  it('says a colour once for neighbours that have it', () => {
    const text = halfBlocks({ pixels: Buffer.alloc(3 * 2 * 3, 5), width: 3, height: 2 });
    expect(text).toBe('\x1b[38;2;5;5;5;48;2;5;5;5m▀▀▀\x1b[0m\n');
  });

  it('shows every pixel where it is, and leaves no colour behind, whatever the picture', () => {
    fc.assert(
      fc.property(picture, ({ pixels, width, height }) => {
        const text = halfBlocks({ pixels, width, height });
        const wanted = Array.from({ length: height + (height % 2) }, (_, y) =>
          Array.from({ length: width }, (_, x) => {
            const at = (y * width + x) * 3;
            return y < height ? pixels.subarray(at, at + 3).join(';') : null;
          }),
        );
        expect(shown(text)).toEqual(wanted);
        const lines = text.split('\n').slice(0, -1);
        expect(lines.filter((line) => !line.endsWith('\x1b[0m'))).toEqual([]);
      }),
    );
  });
});
