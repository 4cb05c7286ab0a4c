import { existsSync } from 'node:fs';
import { link, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { SetupError } from '../../src/errors.ts';
import { roomForPackages } from '../../src/provision/package-room.ts';
import {
  describeFree,
  freeBytes,
  measureWriting,
  requireRoom,
  requireRooms,
} from '../../src/provision/room.ts';

async function temporaryFolder(parent = os.tmpdir()): Promise<string> {
  const dir = await mkdtemp(path.join(parent, 'room-test-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

const free = async (dir: string) => (await freeBytes(dir)) ?? expect.unreachable('a real disk');

/** Two disks, the one with less room first: the temporary folder's, and memory. */
async function twoDisks(): Promise<[string, string]> {
  const dirs = [await temporaryFolder(), await temporaryFolder('/dev/shm')] as const;
  const [one, other] = await Promise.all(dirs.map(free));
  return Number(one) < Number(other) ? [dirs[0], dirs[1]] : [dirs[1], dirs[0]];
}

const hasTwoDisks =
  existsSync('/dev/shm') && (await stat('/dev/shm')).dev !== (await stat(os.tmpdir())).dev;

/** More than any disk has. */
const TOO_MUCH = 1e15;

describe('the room that is asked for', () => {
  it('is refused with both numbers, the folder and what to do', async () => {
    const dir = await temporaryFolder();
    const refusal = requireRoom(dir, TOO_MUCH);
    await expect(refusal).rejects.toBeInstanceOf(SetupError);
    await expect(refusal).rejects.toThrow(
      /room-test-\w+ has [\d.]+ [MG]B free, and 1000000\.0 GB are needed\. Free some room/,
    );
    await expect(refusal).rejects.toThrow('or set WORKSPACE to');
  });

  it('may be for a folder that is not there yet, and makes none', async () => {
    const dir = path.join(await temporaryFolder(), 'not', 'yet');
    await requireRoom(dir, 1);
    await expect(requireRoom(dir, TOO_MUCH)).rejects.toThrow('are needed');
    expect(existsSync(path.dirname(dir))).toBe(false);
  });

  it.runIf(hasTwoDisks)('is asked of the disk that it is written to', async () => {
    const [small, large] = await twoDisks();
    const bytes = (await free(small)) + 1e8;
    await requireRooms([
      { dir: small, bytes: 1 },
      { dir: large, bytes }, //
    ]);
    const refusal = requireRooms([
      { dir: large, bytes: 1 },
      { dir: path.join(small, 'hub'), bytes, setting: 'HF_HOME' },
    ]);
    await expect(refusal).rejects.toThrow(`${path.join(small, 'hub')} has`);
    await expect(refusal).rejects.toThrow('or set HF_HOME to');
  });

  it('is added up for what goes to one disk', async () => {
    const dir = await temporaryFolder();
    const bytes = 0.6 * (await free(dir));
    const hub = path.join(dir, 'hub');
    await requireRooms([{ dir, bytes }]);
    const refusal = requireRooms([
      { dir, bytes },
      { dir: hub, bytes, setting: 'HF_HOME' },
    ]);
    await expect(refusal).rejects.toThrow(`${dir} and ${hub} have`);
    await expect(refusal).rejects.toThrow('WORKSPACE or HF_HOME');
  });

  it('is less by what is there already', async () => {
    const dir = await temporaryFolder();
    const left = await requireRooms([
      { dir, bytes: TOO_MUCH, had: async () => TOO_MUCH - 7 },
      { dir, bytes: 5, had: async () => TOO_MUCH },
    ]);
    expect(left.map(({ bytes }) => bytes)).toEqual([7, 0]);
  });

  it('is believed to be there when the file system says nothing', async () => {
    expect(await freeBytes('/proc')).toBe(null); // it has no blocks at all
    expect(await describeFree('/proc')).toBe('of unknown size');
    await requireRoom('/proc', TOO_MUCH);
  });
});

describe('the room for packages', () => {
  const configOf = (workspace: string, uvCache?: string) =>
    readConfig({ WORKSPACE: workspace, ...(uvCache && { UV_CACHE_DIR: uvCache }) });

  it('is less by what an interrupted install has left in the cache of uv', async () => {
    const workspace = await temporaryFolder();
    const cache = path.join(workspace, 'cache', 'uv');
    const whole = path.join(cache, 'archive-v0', 'a1', 'torch');
    const broken = path.join(cache, '.tmpQx3', 'torch');
    for (const dir of [whole, broken]) {
      await mkdir(dir, { recursive: true });
      await writeFile(path.join(dir, 'libtorch.so'), Buffer.alloc(3_000_000));
    }
    const rooms = await requireRooms(await roomForPackages(configOf(workspace), 5_000_000));
    expect(rooms).toEqual([{ dir: workspace, bytes: 2_000_000 }]);
  });

  it('is not less by what another venv has, which is not what is wanted', async () => {
    const workspace = await temporaryFolder();
    const archive = path.join(workspace, 'cache', 'uv', 'archive-v0', 'a1');
    const venv = path.join(workspace, 'venvs', 'runtime-0123456789ab');
    for (const dir of [archive, venv]) await mkdir(dir, { recursive: true });
    for (const name of ['had', 'left']) await writeFile(path.join(archive, name), 'four');
    await link(path.join(archive, 'had'), path.join(venv, 'had'));
    const rooms = () => roomForPackages(configOf(workspace), 100).then(requireRooms);
    expect(await rooms()).toEqual([{ dir: workspace, bytes: 96 }]);
    // Nobody has it any more: it can be taken from there.
    await rm(venv, { recursive: true });
    expect(await rooms()).toEqual([{ dir: workspace, bytes: 92 }]);
  });

  it.runIf(hasTwoDisks)('is asked of both disks when the cache is on another', async () => {
    const [one, other] = await twoDisks();
    const rooms = await requireRooms(await roomForPackages(configOf(one, other), 5e6));
    expect(rooms).toEqual([
      { dir: one, bytes: 5e6 },
      { dir: other, bytes: 5e6, setting: 'UV_CACHE_DIR' },
    ]);
  });
});

describe('how long writing will take', () => {
  it('is said of many gigabytes, and leaves nothing', async () => {
    const dir = await temporaryFolder();
    const lines: string[] = [];
    await measureWriting(dir, [{ dir, bytes: 7e9 }], (line) => lines.push(line));
    expect(lines).toEqual([expect.stringMatching(/^7\.0 GB to write at \d+ MB\/s: \d+ (s|min)/)]);
    await measureWriting(dir, [{ dir, bytes: 9e8 }], (line) => lines.push(line));
    expect(lines).toHaveLength(1);
  });

  it.runIf(hasTwoDisks)('is not said of what goes to another disk', async () => {
    const [one, other] = await twoDisks();
    await measureWriting(one, [{ dir: other, bytes: 7e9 }], (line) => expect.unreachable(line));
  });
});
