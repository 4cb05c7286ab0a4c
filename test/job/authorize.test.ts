import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LotusError } from '../../src/errors.ts';
import { authorize, type KeyBearer } from '../../src/job/authorize.ts';
import { Secret } from '../../src/secret.ts';

const KEY = 'sk-a-key-of-the-server';

const refusal = (job: unknown) => refusalOf(job, KEY);

function refusalOf(job: unknown, key: string | undefined): LotusError {
  try {
    authorize(job as KeyBearer, key === undefined ? null : new Secret(key));
  } catch (error) {
    return error as LotusError;
  }
  return expect.fail('it was admitted');
}

const inHeader = (headers: unknown, input: unknown = {}) => ({ id: '1', input, http: { headers } });
const inField = (api_key: unknown) => ({ id: '1', input: { api_key } });

describe('authorize', () => {
  it.each([
    ['the header', inHeader({ 'lotus-api-key': KEY })],
    ['the header in capitals', inHeader({ 'LOTUS-API-KEY': KEY })],
    ['the header in mixed case', inHeader({ 'Lotus-Api-Key': KEY })],
    ['the header as a list', inHeader({ 'lotus-api-key': [KEY] })],
    ['one of the header’s values', inHeader({ 'lotus-api-key': ['no', KEY] })],
    ['one of several headers', inHeader({ 'Lotus-Api-Key': 'no', 'lotus-api-key': KEY })],
    ['the field', inField(KEY)],
    [
      'the field, beside a wrong header',
      { ...inField(KEY), http: { headers: { 'lotus-api-key': 'no' } } },
    ],
    ['the header, beside a wrong field', inHeader({ 'lotus-api-key': KEY }, { api_key: 'no' })],
    ['the header, beside an input that is none', inHeader({ 'lotus-api-key': KEY }, 'text')],
  ])('admits the key in %s', (_where, job) => {
    expect(authorize(job as KeyBearer, new Secret(KEY))).toBeUndefined();
  });

  it.each([
    ['nothing', { id: '1', input: {} }],
    ['no input', { id: '1' }],
    ['an empty key', inField('')],
    ['another key', inField('sk-another-key-of-nobody')],
    ['the beginning of the key', inField(KEY.slice(0, -1))],
    ['the key and more', inField(`${KEY}x`)],
    ['the key in capitals', inField(KEY.toUpperCase())],
    ['the key with a space', inField(`${KEY} `)],
    ['the key with NUL', inField(`${KEY}\0`)],
    ['the key as a Bearer', inField(`Bearer ${KEY}`)],
    ['the key in another header', inHeader({ authorization: KEY, 'x-lotus-api-key': KEY })],
    ['the key beside the input', { id: '1', input: {}, api_key: KEY, 'lotus-api-key': KEY }],
    ['the headers beside http', { id: '1', input: {}, headers: { 'lotus-api-key': KEY } }],
    ['the header in the input', { id: '1', input: { 'lotus-api-key': KEY } }],
    ['a list for a field', inField([KEY])],
    ['an object for a field', inField({ toString: KEY, 0: KEY })],
    ['a number', inField(7)],
    ['true', inField(true)],
    ['null', inField(null)],
    ['a list in a list', inHeader({ 'lotus-api-key': [[KEY]] })],
    ['an object for a header', inHeader({ 'lotus-api-key': { 0: KEY } })],
    ['text for headers', inHeader(KEY)],
    ['a list for headers', inHeader([KEY, ['lotus-api-key', KEY]])],
    ['null for headers', inHeader(null)],
    ['null for http', { id: '1', input: null, http: null }],
    ['text for http', { id: '1', input: KEY, http: KEY }],
    ['a list for input', { id: '1', input: ['api_key', KEY] }],
    [
      'the key on a prototype',
      { id: '1', input: JSON.parse(`{"__proto__": {"api_key": "${KEY}"}}`) },
    ],
    ['the key under a constructor', { id: '1', input: { constructor: { api_key: KEY } } }],
    [
      'ten thousand values before it',
      inHeader({ 'lotus-api-key': [...Array(10_000).fill('no'), KEY] }),
    ],
    ['twenty megabytes', inField('x'.repeat(20_000_000))],
    ['half a surrogate pair', inField('\ud800')],
  ])('refuses %s', (_what, job) => {
    expect(refusal(job)).toMatchObject({
      code: 'unauthorized',
      status: 401,
      message: 'Unauthorized',
    });
  });

  it.each([undefined, '', ' ', '\n'])('admits nobody when the server’s key is %j', (key) => {
    for (const tried of [key ?? '', '', ' ', 'undefined', 'null', KEY]) {
      expect(refusalOf(inField(tried), key)).toMatchObject({ code: 'unauthorized' });
    }
    expect(refusalOf({ id: '1', input: {} }, key)).toMatchObject({ code: 'unauthorized' });
  });

  it('says nothing of a key, its own or another', () => {
    const error = refusal(inField('hunter2'));
    expect(`${error.stack} ${error.cause}`).not.toMatch(/hunter2|sk-a-key/);
  });

  it('looks at nothing else of the job', () => {
    const touchy = new Proxy(inField('no'), {
      get(target, name) {
        if (name !== 'input' && name !== 'http') throw new Error(`looked at ${String(name)}`);
        return Reflect.get(target, name);
      },
    });
    expect(refusal(touchy)).toMatchObject({ code: 'unauthorized' });
  });

  it('refuses whatever JSON is sent, and does not fall over it', () => {
    const json = fc.oneof(
      fc.jsonValue(),
      fc.record({ input: fc.jsonValue(), http: fc.record({ headers: fc.jsonValue() }) }),
      fc.record({
        http: fc.record({ headers: fc.dictionary(fc.constant('lotus-api-key'), fc.jsonValue()) }),
      }),
    );
    fc.assert(
      fc.property(json, (job) => {
        expect(refusal({ ...(job as object) })).toMatchObject({ code: 'unauthorized' });
      }),
      { numRuns: 500 },
    );
  });
});
