import { describe, expect, it } from 'vitest';
import { splitOutput } from '../../src/runpod/result.ts';

describe("a handler's output, taken apart", () => {
  it.each([
    [undefined, { output: null, refresh: false }],
    [[1], { output: [1], refresh: false }],
    [{}, { refresh: false }],
    [{ a: 1 }, { output: { a: 1 }, refresh: false }],
    [
      { a: 1, error: 'no' },
      { output: { a: 1 }, error: 'no', refresh: false },
    ],
    [{ error: 'no' }, { error: 'no', refresh: false }],
    [{ error: { code: 1 } }, { error: '{"code":1}', refresh: false }],
    [
      { a: 1, error: null },
      { output: { a: 1 }, refresh: false },
    ],
    [{ error: '' }, { refresh: false }],
    [{ refresh_worker: true }, { refresh: true }],
    [
      { a: 1, refresh_worker: false },
      { output: { a: 1 }, refresh: false },
    ],
  ])('%o', (value, parts) => {
    expect(splitOutput(value)).toStrictEqual(parts);
  });
});
