import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { How } from '../../src/cli/ledger.ts';
import { findDone, intoFolder, openOutputFolder } from '../../src/cli/output-folder.ts';
import type { Facts } from '../../src/job/answer.ts';
import { parseJobOptions } from '../../src/job/schema.ts';

let dir = '';

beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'output-folder-test-'));
  await writeFile(path.join(dir, 'a.jpg'), 'image');
});

afterEach(() => rm(dir, { recursive: true, force: true }));

const HOW: How = {
  options: parseJobOptions({}),
  model: { id: 'm', revision: '1', prediction: 'disparity', dtype: 'auto', upstream: null },
};

/** An image whose map is saved and then written down; whether a later run takes it for done. */
async function saved(
  meanwhile: (map: string) => Promise<unknown>,
): Promise<{ warnings: string[]; isDone: boolean }> {
  const given = path.join(dir, 'maps');
  const folder = await openOutputFolder(given);
  const map = path.join(folder.real, 'sub', 'a.png');
  const itself = path.join(dir, 'a.jpg');
  const task = { file: itself, folder: 'sub', itself, paths: [map] };
  const { save, end } = await intoFolder(folder, async () => HOW).begin(task);
  await save({ format: 'png', path: map, bytes: Buffer.from('ours') });
  await meanwhile(map);
  const warnings = await end({ polarity: 'near-bright' } as Facts);
  const [found] = await findDone([task], await openOutputFolder(given), HOW);
  return { warnings, isDone: found !== undefined && 'polarity' in found };
}

describe('a map that is saved', () => {
  it('is done for a later run', async () => {
    expect(await saved(async () => {})).toEqual({ warnings: [], isDone: true });
    expect(await readFile(path.join(dir, 'maps', 'sub', 'a.png'), 'utf8')).toBe('ours');
  });

  it('is not done when another run has written over it, with as many bytes', async () => {
    const { warnings, isDone } = await saved((map) => writeFile(map, 'else'));
    expect(isDone).toBe(false);
    expect(warnings).toEqual([expect.stringContaining('another run has written')]);
  });

  it('is not done when it is gone, and that costs nothing else', async () => {
    const { warnings, isDone } = await saved((map) => rm(map));
    expect(isDone).toBe(false);
    expect(warnings).toHaveLength(1);
  });
});
