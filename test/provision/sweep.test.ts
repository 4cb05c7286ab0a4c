import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { removeOthers, sweepHalfMade } from '../../src/provision/sweep.ts';

let workspace = '';
beforeEach(async () => {
  workspace = await mkdtemp(path.join(os.tmpdir(), 'sweep-test-'));
});
afterEach(() => rm(workspace, { recursive: true, force: true }));

const make = (...names: string[]) =>
  Promise.all(names.map((name) => mkdir(path.join(workspace, name), { recursive: true })));

it('sweeps what was built aside, and nothing that others call so', async () => {
  const theirs = ['download.partial', 'models', 'venvs'];
  await make(...theirs, 'models/llama.partial');
  await make(`.bootstrap.lock.${randomUUID()}.partial`, `venvs/.runtime-1.${randomUUID()}.partial`);
  await sweepHalfMade(workspace, () => {});
  expect((await readdir(workspace)).toSorted()).toEqual(theirs);
  expect(await readdir(path.join(workspace, 'venvs'))).toEqual([]);
  expect(await readdir(path.join(workspace, 'models'))).toEqual(['llama.partial']);
});

it('removes the venvs that nothing uses, and none of others', async () => {
  await make('venvs/runtime-0123456789ab', 'venvs/runtime-ba9876543210@01234567', 'venvs/theirs');
  const isUsed = (name: string) => name === 'runtime-0123456789ab';
  expect(await removeOthers(workspace, 'venvs', isUsed, () => {})).toBe(true);
  expect((await readdir(path.join(workspace, 'venvs'))).toSorted()).toEqual([
    'runtime-0123456789ab',
    'theirs',
  ]);
});
