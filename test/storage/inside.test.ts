import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { liesIn } from '../../src/storage/inside.ts';

let dir = '';
const at = (...parts: string[]) => path.join(dir, ...parts);

beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'inside-test-'));
  await mkdir(at('root', 'blobs'), { recursive: true });
  await mkdir(at('root-beside'));
  await writeFile(at('root', 'blobs', 'a'), 'a');
  await writeFile(at('root-beside', 'b'), 'b');
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe('a file lies in a folder', () => {
  it('when it is there', async () => {
    expect(await liesIn(at('root'), at('root', 'blobs', 'a'))).toBe(true);
  });

  it('when it is a link to a file there', async () => {
    await symlink('blobs/a', at('root', 'link'));
    expect(await liesIn(at('root'), at('root', 'link'))).toBe(true);
  });

  it('when the folder was named by a link', async () => {
    await symlink(at('root'), at('named'));
    expect(await liesIn(at('named'), at('named', 'blobs', 'a'))).toBe(true);
  });

  it('when its name begins with two dots', async () => {
    await writeFile(at('root', '..a'), 'a');
    expect(await liesIn(at('root'), at('root', '..a'))).toBe(true);
  });
});

describe('a file does not lie in a folder', () => {
  it.each([
    ['is a link out of it', 'link', '../root-beside/b'],
    ['is an absolute link out of it', 'link', '/etc/passwd'],
    ['is a link to nothing', 'link', 'nothing'],
    ['is a link to itself', 'link', 'link'],
  ])('when it %s', async (_what, name, target) => {
    await symlink(target, at('root', name));
    expect(await liesIn(at('root'), at('root', name))).toBe(false);
  });

  it('when a folder on its way leads out', async () => {
    await symlink(at('root-beside'), at('root', 'way'));
    expect(await liesIn(at('root'), at('root', 'way', 'b'))).toBe(false);
  });

  it('when it is beside it, under a name that begins alike', async () => {
    expect(await liesIn(at('root'), at('root-beside', 'b'))).toBe(false);
  });

  it('when it is not there', async () => {
    expect(await liesIn(at('root'), at('root', 'none'))).toBe(false);
  });
});
