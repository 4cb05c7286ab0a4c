import { mkdir, mkdtemp, rm, symlink, utimes } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { lastUsed } from '../../src/provision/used.ts';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'used-test-'));
  for (const [at, name] of ['older', 'old', 'new'].entries()) {
    await mkdir(path.join(dir, name));
    await utimes(path.join(dir, name), at, at);
  }
});
afterEach(() => rm(dir, { recursive: true, force: true }));

it('keeps those that were used last, of those that are meant', async () => {
  expect(await lastUsed(dir, () => true, 2)).toEqual(['new', 'old']);
  expect(await lastUsed(dir, (name) => name !== 'new', 2)).toEqual(['old', 'older']);
});

it('leaves out what is listed and gone when it is looked at, as while another removes it', async () => {
  await symlink('gone', path.join(dir, 'going'));
  expect(await lastUsed(dir, () => true, 4)).toEqual(['new', 'old', 'older']);
});
