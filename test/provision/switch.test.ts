import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { buildAside, switchLink } from '../../src/provision/switch.ts';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'switch-test-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const target = () => path.join(dir, 'target');
const put = (text: string) => async (aside: string) => {
  await writeFile(path.join(aside, 'file'), text);
};

describe('buildAside', () => {
  it('moves the folder to its place when it is finished', async () => {
    await buildAside(target(), async (aside) => {
      expect(await readdir(dir)).toEqual([path.basename(aside)]);
      await put('whole')(aside);
    });
    expect(await readdir(dir)).toEqual(['target']);
    expect(await readFile(path.join(target(), 'file'), 'utf8')).toBe('whole');
  });

  it('leaves nothing behind when building fails', async () => {
    const broken = buildAside(target(), () => Promise.reject(new Error('disk full')));
    await expect(broken).rejects.toThrow('disk full');
    expect(await readdir(dir)).toEqual([]);
  });

  it('keeps what somebody else has put there in the meantime', async () => {
    await buildAside(target(), async (aside) => {
      await mkdir(target());
      await put('theirs')(target());
      await put('ours')(aside);
    });
    expect(await readdir(dir)).toEqual(['target']);
    expect(await readFile(path.join(target(), 'file'), 'utf8')).toBe('theirs');
  });
});

describe('switchLink', () => {
  it('points to the new folder by a relative path, and again when it pointed elsewhere', async () => {
    const link = path.join(dir, 'venv');
    for (const name of ['one', 'two']) {
      await mkdir(path.join(dir, 'venvs', name), { recursive: true });
      await switchLink(link, path.join(dir, 'venvs', name));
      expect(await readlink(link)).toBe(path.join('venvs', name));
    }
    expect((await readdir(dir)).toSorted()).toEqual(['venv', 'venvs']);
  });

  it('replaces nothing but a link', async () => {
    const link = path.join(dir, 'venv');
    await mkdir(path.join(link, 'bin'), { recursive: true });
    await expect(switchLink(link, target())).rejects.toThrow(`${link} is a folder`);
    expect(await readdir(dir)).toEqual(['venv']);
  });

  it('still points there when the whole has moved', async () => {
    const workspace = path.join(dir, 'workspace');
    await mkdir(path.join(workspace, 'venvs', 'one'), { recursive: true });
    await put('whole')(path.join(workspace, 'venvs', 'one'));
    await switchLink(path.join(workspace, 'venv'), path.join(workspace, 'venvs', 'one'));
    await rename(workspace, path.join(dir, 'runpod-volume'));
    expect(await readFile(path.join(dir, 'runpod-volume', 'venv', 'file'), 'utf8')).toBe('whole');
  });
});
