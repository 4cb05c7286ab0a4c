import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LotusError } from '../../src/errors.ts';
import { decodeBase64Image } from '../../src/job/base64.ts';

const letter = fc.constantFrom('A', 'z', '0', '+', '/', '=', ' ', '\n', '\r', '\t');
const odd = fc.constantFrom(
  '-',
  '_',
  ',',
  ':',
  '\0',
  '\u00a0',
  '\ufeff',
  'Ａ',
  '\ud800',
  'data:;base64,',
);
const nearly = fc
  .array(fc.oneof({ weight: 20, arbitrary: letter }, { weight: 1, arbitrary: odd }))
  .map((letters) => letters.join(''));

describe('decodeBase64Image', () => {
  it('gives the bytes that are written there, or a LotusError, for any text', () => {
    fc.assert(
      fc.property(fc.oneof(nearly, fc.string({ unit: 'binary' })), (text) => {
        try {
          const digits = text
            .trimStart()
            .replace(/^data:;base64,/, '')
            .replaceAll(/[\r\n\t ]/g, '');
          const bytes = decodeBase64Image(text);
          expect(digits).toMatch(
            /^([A-Za-z0-9+/]{4})*[A-Za-z0-9+/]{2}([A-Za-z0-9+/]{2}|[A-Za-z0-9+/]=|==)$/,
          );
          expect(bytes.length).toBe((digits.replace(/=+$/, '').length * 6) >> 3);
        } catch (error) {
          if (!(error instanceof LotusError)) throw error;
          expect(['no_image', 'invalid_image']).toContain(error.code);
          expect(error.message.length).toBeLessThan(200);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('gives back any bytes, whatever blanks are between their digits', () => {
    const blanks = fc.array(fc.constantFrom('', ' ', '\n', '\r\n', '\t'), {
      minLength: 1,
      maxLength: 5,
    });
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1 }), blanks, (bytes, between) => {
        const digits = [...Buffer.from(bytes).toString('base64')];
        const text = digits.map((digit, n) => digit + between[n % between.length]).join('');
        expect([...decodeBase64Image(text)]).toEqual([...bytes]);
      }),
      { numRuns: 500 },
    );
  });
});
