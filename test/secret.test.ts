import { inspect } from 'node:util';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { Secret } from '../src/secret.ts';

const secret = new Secret('sk-planted');

it.each([
  ['JSON', () => JSON.stringify({ secret })],
  ['a template', () => `${secret}`],
  ['an inspection', () => inspect({ deep: { secret } }, { showHidden: true, depth: 9 })],
  ['an error', () => String(new Error(`not ${secret}`))],
  ['a copy', () => JSON.stringify({ ...secret }) + Object.values(secret).join()],
])('a secret is not shown by %s', (_what, show) => {
  expect(show()).not.toContain('planted');
});

it('a secret is not shown by a log', () => {
  let written = '';
  pino({}, { write: (line: string) => (written += line) }).info({ secret }, 'line');
  expect(written).toContain('line');
  expect(written).not.toContain('planted');
});

it('a secret is given to whoever asks for it', () => {
  expect(secret.reveal()).toBe('sk-planted');
});
