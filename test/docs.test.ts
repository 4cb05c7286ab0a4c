import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { renderDocs } from '../scripts/docs.ts';
import { APP_ROOT } from '../src/app.ts';

const documents = await renderDocs();

describe('the tables in the docs', () => {
  it('are where a reader looks for them', () => {
    const text = documents.map(({ now }) => now).join('\n');
    expect(
      text.match(/<!-- begin (settings|job|errors|request|answer|refusals|limits|flags) -->/g),
    ).toHaveLength(8);
  });

  it.each(documents.map(({ file, now, wanted }) => [path.basename(file), now, wanted]))(
    'of %s are what the code says; `npm run docs` writes them anew',
    (_name, now, wanted) => {
      expect(now).toBe(wanted);
    },
  );
});

describe('docs/security.md', () => {
  const text = readFileSync(path.join(APP_ROOT, 'docs', 'security.md'), 'utf8');
  const files = [...text.matchAll(/`((?:[\w-]+\/)+[\w.-]+\.ts)`/g)].map(([, file]) => file ?? '');

  it.each([...new Set(files)])('names a test that is there: %s', (file) => {
    expect(existsSync(path.join(APP_ROOT, file))).toBe(true);
  });
});
