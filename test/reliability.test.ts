import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { APP_ROOT } from '../src/app.ts';

const text = readFileSync(path.join(APP_ROOT, 'docs', 'reliability.md'), 'utf8').replaceAll(
  /\s+/g,
  ' ',
);

/** Every file that is named, with the names of its tests that follow it. */
const named = [...text.matchAll(/`(test\/[\w./-]+\.test\.ts)`((?:,?\s+"[^"]+")*)/g)].flatMap(
  ([, file = '', names = '']) => {
    const tests = [...names.matchAll(/"([^"]+)"/g)].map(([, name = '']) => name);
    return tests.length > 0 ? tests.map((name) => [file, name]) : [[file, '']];
  },
);

describe('docs/reliability.md', () => {
  it('names tests', () => {
    expect(named.filter(([, name]) => name).length).toBeGreaterThan(30);
    expect(text.match(/"[^"]+"/g)?.length).toBe(named.filter(([, name]) => name).length);
  });

  it.each(named)('has from %s a test that is there: "%s"', (file = '', name = '') => {
    const source = readFileSync(path.join(APP_ROOT, file), 'utf8').replaceAll("\\'", "'");
    expect(source).toContain(name);
  });
});
