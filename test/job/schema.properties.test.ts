import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LotusError } from '../../src/errors.ts';
import { jobInputSchema, parseJobInput } from '../../src/job/schema.ts';

/** A dozen mistakes, of some hundred and fifty characters each. */
const LONGEST_MESSAGE = 2500;

const text = (value: unknown) => JSON.stringify(value) ?? 'null';
const value = fc.oneof(
  fc.jsonValue().map(text),
  fc.constantFrom('-0', '1e999', '9007199254740993', '"\\ud800"', '"\\u0000"', '{"__proto__":{}}'),
  fc.constantFrom(
    text('x'.repeat(10_000)),
    text(Array(100).fill('')),
    `${'['.repeat(9000)}${']'.repeat(9000)}`,
  ),
);
const name = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...Object.keys(jobInputSchema.shape)) },
  { weight: 1, arbitrary: fc.constantFrom('__proto__', 'constructor', 'toString', 'then', '') },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 500 }) },
);
/** An input as somebody writes it, with fields twice and `__proto__` among them. */
const input = fc
  .array(fc.tuple(name, value), { maxLength: 30 })
  .map((fields) => `{${fields.map(([field, of]) => `${text(field)}:${of}`).join(',')}}`);

describe('parseJobInput', () => {
  it('gives a job or says what is wrong, shortly, for any JSON that is sent', () => {
    fc.assert(
      fc.property(fc.oneof({ weight: 5, arbitrary: input }, fc.json()), (json) => {
        try {
          const { image, images, options } = parseJobInput(JSON.parse(json));
          if (image) expect(Object.values(image)).toEqual([expect.any(String)]);
          else expect(images.length).toBeGreaterThan(0);
          expect(options.output_formats[0]).toBe('png');
          expect(Object.getPrototypeOf(options)).toBe(Object.prototype);
        } catch (error) {
          if (!(error instanceof LotusError)) throw error;
          expect(['invalid_input', 'no_image']).toContain(error.code);
          expect(error.message.length).toBeLessThan(LONGEST_MESSAGE);
        }
      }),
      { numRuns: 400 },
    );
  });
});
