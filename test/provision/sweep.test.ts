import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { removeUnused, sweepHalfMade } from '../../src/provision/sweep.ts';

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

it('sweeps a lease that one who was killed had half written, and none that is being written', async () => {
  await make('leases');
  const [old, young] = [randomUUID(), randomUUID()].map((id) => `.${id}.partial`);
  for (const name of [old, young]) await writeFile(path.join(workspace, 'leases', `${name}`), '');
  const twoDaysAgo = Date.now() / 1000 - 2 * 86_400;
  await utimes(path.join(workspace, 'leases', `${old}`), twoDaysAgo, twoDaysAgo);
  await sweepHalfMade(workspace, () => {});
  expect(await readdir(path.join(workspace, 'leases'))).toEqual([young]);
});

it('removes the folders that it is told to, and no other', async () => {
  await make('venvs/runtime-0123456789ab', 'venvs/runtime-ba9876543210@01234567', 'venvs/theirs');
  const names = ['runtime-ba9876543210@01234567'];
  expect(await removeUnused(workspace, 'venvs', names, () => {})).toBe(true);
  expect((await readdir(path.join(workspace, 'venvs'))).toSorted()).toEqual([
    'runtime-0123456789ab',
    'theirs',
  ]);
  expect(await removeUnused(workspace, 'venvs', [], () => {})).toBe(false);
});
