import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineFramer, MAX_LINE_BYTES } from '../../src/worker/framing.ts';

/** The lines of a text that comes in pieces of the given sizes, again and again. */
function frame(text: Buffer, sizes: readonly number[], framer = new LineFramer()): string[] {
  const lines: string[] = [];
  for (let at = 0, i = 0; at < text.length; i += 1) {
    const size = sizes[i % sizes.length] ?? 1;
    for (const line of framer.push(text.subarray(at, at + size))) lines.push(line.toString());
    at += size;
  }
  return lines;
}

describe('LineFramer', () => {
  it('gives each line without its newline', () => {
    expect(frame(Buffer.from('one\ntwo\n\nfour\n'), [100])).toEqual(['one', 'two', '', 'four']);
  });

  it('keeps an unfinished line until its end comes', () => {
    const framer = new LineFramer();
    expect(framer.push(Buffer.from('ha'))).toEqual([]);
    expect(framer.rest().toString()).toBe('ha');
    expect(framer.push(Buffer.from('lf\nan')).map(String)).toEqual(['half']);
    expect(framer.rest().toString()).toBe('an');
  });

  it('takes the longest line there may be, and not one byte more', () => {
    const longest = Buffer.from(`${'x'.repeat(MAX_LINE_BYTES)}\n`);
    expect(frame(longest, [4096])).toHaveLength(1);
    const longer = Buffer.from(`${'x'.repeat(MAX_LINE_BYTES + 1)}\n`);
    expect(() => frame(longer, [4096])).toThrow('longer than 1048576 bytes');
    expect(() => new LineFramer().push(longer)).toThrow(RangeError);
  });

  it('refuses a line that never ends as soon as it is too long', () => {
    const framer = new LineFramer(10);
    framer.push(Buffer.from('0123456789'));
    expect(() => framer.push(Buffer.from('x'))).toThrow('longer than 10 bytes');
  });

  it('gives the same lines however the bytes are cut', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 5 });
    const lines = fc.array(fc.string({ unit: 'binary' }).map((line) => line.replaceAll('\n', '')));
    void fc.assert(
      fc.property(lines, sizes, (wanted, cuts) => {
        const text = Buffer.from(wanted.map((line) => `${line}\n`).join(''));
        const whole = wanted.map((line) => Buffer.from(line).toString());
        expect(frame(text, cuts)).toEqual(whole);
      }),
    );
  });

  it('joins a line that comes in pieces of a byte', () => {
    const framer = new LineFramer();
    const line = Buffer.from('0123456789'.repeat(1000));
    for (const byte of line) expect(framer.push(Buffer.from([byte]))).toEqual([]);
    expect(framer.push(Buffer.from('\n'))).toEqual([line]);
  });
});
