import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeWhole } from '../../src/storage/files.ts';

let dir = '';

beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'files-test-'));
});

afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

describe('writeWhole', () => {
  it('writes bytes as they are', async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    await writeWhole(path.join(dir, 'a.bin'), bytes);
    expect([...(await readFile(path.join(dir, 'a.bin')))]).toEqual([...bytes]);
  });

  it('writes text as UTF-8', async () => {
    await writeWhole(path.join(dir, 'a.txt'), 'Grüße');
    expect(await readFile(path.join(dir, 'a.txt'))).toEqual(Buffer.from('Grüße', 'utf8'));
  });

  it('writes an empty file', async () => {
    await writeWhole(path.join(dir, 'a'), '');
    expect(await readFile(path.join(dir, 'a'), 'utf8')).toBe('');
  });

  it('makes the folders that are missing', async () => {
    const file = path.join(dir, 'one', 'two', 'a.txt');
    await writeWhole(file, 'text');
    expect(await readFile(file, 'utf8')).toBe('text');
  });

  it('replaces a file, and leaves nothing else in the folder', async () => {
    const file = path.join(dir, 'a.txt');
    await writeFile(file, 'a text that was longer');
    await writeWhole(file, 'new');
    expect(await readFile(file, 'utf8')).toBe('new');
    expect(await readdir(dir)).toEqual(['a.txt']);
  });

  it('replaces a link, and leaves alone what it leads to', async () => {
    const [file, elsewhere] = [path.join(dir, 'a.txt'), path.join(dir, 'elsewhere')];
    await writeFile(elsewhere, 'precious');
    await symlink(elsewhere, file);
    await writeWhole(file, 'new');
    expect((await lstat(file)).isFile()).toBe(true);
    expect(await readFile(file, 'utf8')).toBe('new');
    expect(await readFile(elsewhere, 'utf8')).toBe('precious');
  });

  it('leaves nothing half written behind when it cannot', async () => {
    const target = path.join(dir, 'folder');
    await mkdir(target);
    await writeFile(path.join(target, 'kept'), '');
    await expect(writeWhole(target, 'text')).rejects.toThrow(/EISDIR|ENOTEMPTY|EEXIST/);
    expect(await readdir(dir)).toEqual(['folder']);
    expect(await readdir(target)).toEqual(['kept']);
  });

  it('fails where a file is in the place of its folder, and leaves that alone', async () => {
    const file = path.join(dir, 'a.txt');
    await writeFile(file, 'text');
    await expect(writeWhole(path.join(file, 'b.txt'), 'text')).rejects.toThrow(/ENOTDIR|EEXIST/);
    expect(await readFile(file, 'utf8')).toBe('text');
  });

  it('leaves one whole file when several are written to one path at once', async () => {
    const file = path.join(dir, 'a.bin');
    const versions = Array.from({ length: 12 }, (_, i) => Buffer.alloc(200_000, i));
    await Promise.all(versions.map((version) => writeWhole(file, version)));
    const written = await readFile(file);
    expect(versions.some((version) => version.equals(written))).toBe(true);
    expect(await readdir(dir)).toEqual(['a.bin']);
  });

  it('is never seen half written', async () => {
    const file = path.join(dir, 'a.bin');
    const versions = Array.from({ length: 12 }, (_, i) => Buffer.alloc(500_000, i));
    await writeWhole(file, versions[0] ?? '');
    let writing = true;
    const writer = (async () => {
      for (const version of versions) await writeWhole(file, version);
    })().finally(() => {
      writing = false;
    });
    let seen = 0;
    while (writing) {
      const bytes = await readFile(file);
      expect(versions.some((version) => version.equals(bytes))).toBe(true);
      seen += 1;
    }
    await writer;
    expect(seen).toBeGreaterThan(0);
  });
});
