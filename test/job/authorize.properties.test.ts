import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LotusError } from '../../src/errors.ts';
import { authorize } from '../../src/job/authorize.ts';
import { Secret } from '../../src/secret.ts';

const KEY = 'sk-a-key-of-the-server';

function isAdmitted(job: unknown, key: Secret | null = new Secret(KEY)): boolean {
  try {
    authorize(job as Parameters<typeof authorize>[0], key);
    return true;
  } catch (error) {
    if (!(error instanceof LotusError)) throw error;
    expect([error.code, error.message]).toEqual(['unauthorized', 'Unauthorized']);
    return false;
  }
}

/** Almost the key, and what is often mistaken for one. */
const nearly = fc.oneof(
  fc.constantFrom<unknown>(
    ...['', ' ', `${KEY} `, ` ${KEY}`, `${KEY}\0`, KEY.toUpperCase(), `Bearer ${KEY}`],
  ),
  fc.constantFrom<unknown>(
    ...[true, 1, null, [KEY], { [KEY]: KEY }, { length: KEY.length }, [[KEY]]],
  ),
  fc.nat(KEY.length - 1).map((length) => KEY.slice(0, length)),
  fc.string(),
);

describe('authorize', () => {
  it('admits nobody by anything that has not the key, in any job', () => {
    const field = fc.constantFrom(
      'api_key',
      'lotus-api-key',
      'LOTUS-API-KEY',
      'authorization',
      '__proto__',
    );
    const object = fc.dictionary(field, fc.oneof(nearly, fc.jsonValue()));
    const job = fc.oneof(
      fc.jsonValue(),
      fc.record({ input: object, http: fc.record({ headers: object }) }),
      fc.record({ input: fc.jsonValue(), http: fc.jsonValue() }),
    );
    fc.assert(
      fc.property(job, (value) => {
        // A header may come several times: a list of keys is no near miss there.
        const text = JSON.stringify(value) ?? '';
        if (/"lotus-api-key":\["sk-a-key-of-the-server"\]/i.test(text)) return;
        expect(isAdmitted(value ?? {})).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });

  it('admits who has it in the field or in the header, whatever else there is', () => {
    const cased = fc
      .array(fc.boolean(), { minLength: 13, maxLength: 13 })
      .map((upper) =>
        [...'lotus-api-key']
          .map((letter, n) => (upper[n] ? letter.toUpperCase() : letter))
          .join(''),
      );
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue()),
        cased,
        nearly,
        (other, header, wrong) => {
          expect(isAdmitted({ input: { ...other, api_key: KEY }, http: other })).toBe(true);
          expect(
            isAdmitted({ input: { api_key: wrong }, http: { headers: { [header]: KEY } } }),
          ).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('admits nobody where the server has no key', () => {
    fc.assert(
      fc.property(nearly, (key) => {
        const job = { input: { api_key: key }, http: { headers: { 'lotus-api-key': key } } };
        expect(isAdmitted(job, null)).toBe(false);
        expect(isAdmitted(job, new Secret(''))).toBe(false);
        expect(isAdmitted(job, new Secret(' \n'))).toBe(false);
      }),
    );
  });
});
