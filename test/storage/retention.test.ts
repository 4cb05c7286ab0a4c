import { lstat, mkdir, mkdtemp, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type RetentionLimits, type Swept, sweepFolder } from '../../src/storage/retention.ts';

const DAY = 86_400;
const NEVER = new AbortController().signal;

async function folderOfTest(): Promise<string> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'retention-test-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** Files by name: how old they are in seconds, and how large. */
async function make(dir: string, files: Record<string, [seconds: number, bytes: number]>) {
  for (const [name, [seconds, bytes]] of Object.entries(files)) {
    await writeFile(path.join(dir, name), Buffer.alloc(bytes));
    const at = Date.now() / 1000 - seconds;
    await utimes(path.join(dir, name), at, at);
  }
}

function sweep(
  dir: string,
  limits: Partial<RetentionLimits>,
  stays: readonly string[] = [],
  signal = NEVER,
): Promise<Swept> {
  return sweepFolder(
    dir,
    {
      limits: { maxAgeMs: null, maxBytes: null, ...limits },
      extensions: ['png', 'npy'],
      stays: async () => new Set(stays),
    },
    signal,
  );
}

const names = async (dir: string) => (await readdir(dir)).sort();

describe('sweepFolder', () => {
  it('removes nothing without limits', async () => {
    const dir = await folderOfTest();
    await make(dir, { 'a.png': [999 * DAY, 10] });
    expect(await sweep(dir, {})).toEqual({ files: 0, bytes: 0, halfWritten: 0 });
    expect(await names(dir)).toEqual(['a.png']);
  });

  it('removes what is too old', async () => {
    const dir = await folderOfTest();
    await make(dir, { 'a.png': [200, 10], 'a.npy': [200, 20], 'b.png': [100, 40] });
    expect(await sweep(dir, { maxAgeMs: 150_000 })).toEqual({
      files: 2,
      bytes: 30,
      halfWritten: 0,
    });
    expect(await names(dir)).toEqual(['b.png']);
  });

  it('removes the oldest of what is too much, and no more than that', async () => {
    const dir = await folderOfTest();
    // Whatever the order is that a file system lists them in.
    const ages = [3, 9, 4, 8, 5, 7, 6, 2].map((n) => [`${n}.png`, [n * 100, 10]] as const);
    await make(dir, Object.fromEntries(ages.map(([name, [at, bytes]]) => [name, [at, bytes]])));
    expect(await sweep(dir, { maxBytes: 45 })).toMatchObject({ files: 4, bytes: 40 });
    expect(await names(dir)).toEqual(['2.png', '3.png', '4.png', '5.png']);
    expect(await sweep(dir, { maxBytes: 40 })).toMatchObject({ files: 0 });
  });

  it('leaves what is owed, all its files, and what was written a moment ago', async () => {
    const dir = await folderOfTest();
    await make(dir, {
      'owed.png': [500, 10],
      'owed.16bit.png': [500, 10],
      'owed.npy': [500, 10],
      'old.png': [400, 10],
      'new.png': [1, 10],
    });
    expect(await sweep(dir, { maxBytes: 1, maxAgeMs: 60_000 }, ['owed'])).toMatchObject({
      files: 1,
    });
    expect(await names(dir)).toEqual(['new.png', 'owed.16bit.png', 'owed.npy', 'owed.png']);
  });

  it('leaves what is none of ours: other names, folders, links and what they lead to', async () => {
    const dir = await folderOfTest();
    const outside = await folderOfTest();
    await make(outside, { 'a.png': [999 * DAY, 10] });
    await make(dir, {
      'notes.txt': [999 * DAY, 10],
      png: [999 * DAY, 10],
      '.hidden.png': [999 * DAY, 10],
    });
    await mkdir(path.join(dir, 'folder.png'));
    await make(path.join(dir, 'folder.png'), { 'b.png': [999 * DAY, 10] });
    await symlink(path.join(outside, 'a.png'), path.join(dir, 'link.png'));
    await symlink(outside, path.join(dir, 'linked'));
    const before = await names(dir);
    expect(await sweep(dir, { maxAgeMs: 60_000, maxBytes: 0 })).toMatchObject({ files: 0 });
    expect(await names(dir)).toEqual(before);
    expect(await names(outside)).toEqual(['a.png']);
    expect(await names(path.join(dir, 'folder.png'))).toEqual(['b.png']);
  });

  it('removes what was half written a day ago, with or without limits, and nothing that is being written', async () => {
    const dir = await folderOfTest();
    const partial = (c: string) => `.${c.repeat(8)}-0000-4000-8000-000000000000.partial`;
    await make(dir, { [partial('a')]: [DAY + 60, 10], [partial('b')]: [DAY - 60, 10] });
    expect(await sweep(dir, {})).toEqual({ files: 0, bytes: 0, halfWritten: 1 });
    expect(await names(dir)).toEqual([partial('b')]);
  });

  it('leaves a file that was written again since it was looked at', async () => {
    const dir = await folderOfTest();
    await make(dir, { 'a.png': [500, 10] });
    const stays = async () => {
      await make(dir, { 'a.png': [0, 10] }); // the job runs once more
      return new Set<string>();
    };
    const limits = { maxAgeMs: 60_000, maxBytes: null };
    const swept = await sweepFolder(dir, { limits, extensions: ['png'], stays }, NEVER);
    expect([swept.files, await names(dir)]).toEqual([0, ['a.png']]);
  });

  it('removes no more than it has to where another sweep has removed some meanwhile', async () => {
    const dir = await folderOfTest();
    const files = Array.from({ length: 20 }, (_, n) => [`${n}.png`, [500 - n, 10]] as const);
    await make(dir, Object.fromEntries(files.map(([name, [at, bytes]]) => [name, [at, bytes]])));
    const stays = async () => {
      await sweep(dir, { maxBytes: 150 });
      return new Set<string>();
    };
    const limits = { maxAgeMs: null, maxBytes: 150 };
    const swept = await sweepFolder(dir, { limits, extensions: ['png'], stays }, NEVER);
    expect([swept.files, (await names(dir)).length]).toEqual([0, 15]);
  });

  it('is not ended by others that sweep at the same time', async () => {
    const dir = await folderOfTest();
    const files = Array.from({ length: 200 }, (_, n) => [`${n}.png`, [900 - n, 10]] as const);
    await make(dir, Object.fromEntries(files.map(([name, [at, bytes]]) => [name, [at, bytes]])));
    const sweeps = await Promise.all(
      Array.from({ length: 4 }, () => sweep(dir, { maxBytes: 1_000 })),
    );
    expect(sweeps.reduce((sum, swept) => sum + swept.files, 0)).toBe(100);
    expect(await names(dir)).toHaveLength(100);
  });

  it('removes nothing when it cannot be known what is owed', async () => {
    const dir = await folderOfTest();
    await make(dir, { 'a.png': [500, 10] });
    const stays = () => Promise.reject(new Error('EIO'));
    const limits = { maxAgeMs: 60_000, maxBytes: null };
    const sweeping = sweepFolder(dir, { limits, extensions: ['png'], stays }, NEVER);
    await expect(sweeping).rejects.toThrow('EIO');
    expect(await names(dir)).toEqual(['a.png']);
  });

  it('ends when it is told to', async () => {
    const dir = await folderOfTest();
    await make(dir, { 'a.png': [500, 10] });
    await sweep(dir, { maxAgeMs: 60_000 }, [], AbortSignal.abort());
    expect((await lstat(path.join(dir, 'a.png'))).size).toBe(10);
  });
});
