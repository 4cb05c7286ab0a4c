import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Scratch } from '../../src/worker/scratch.ts';
import { recordingLog } from './programs.ts';

let parent = '';
beforeEach(async () => {
  parent = await mkdtemp(path.join(os.tmpdir(), 'scratch-test-'));
});
afterEach(() => rm(parent, { recursive: true, force: true }));

const open = () => Scratch.open(recordingLog().log, { wanted: parent });

describe('Scratch', () => {
  it('is a folder that only we can read', async () => {
    const scratch = await open();
    expect((await stat(scratch.dir)).mode & 0o777).toBe(0o700);
    expect(path.dirname(scratch.file('rgb').path)).toBe(scratch.dir);
  });

  it('is gone with all that is in it when it is closed', async () => {
    const scratch = await open();
    await writeFile(scratch.file('rgb').path, 'pixels');
    await scratch.close();
    expect(await readdir(parent)).toEqual([]);
  });

  it('is not shared', async () => {
    const [one, other] = [await open(), await open()];
    expect(one.dir).not.toBe(other.dir);
    expect(existsSync(one.dir)).toBe(true); // the other one did not sweep it away
  });

  it('sweeps what processes left that are gone, and nothing else', async () => {
    const { pid } = spawnSync('true');
    const mine = path
      .basename((await open()).dir)
      .split('-')
      .slice(0, 3)
      .join('-');
    await rm(parent, { recursive: true });
    const stay = [`${mine}-${process.pid}-alive`, `lotus-worker-1-${pid}-abc`, 'somebody-elses'];
    for (const name of [`${mine}-${pid}-abc`, ...stay]) {
      await mkdir(path.join(parent, name), { recursive: true });
    }
    const scratch = await open();
    const left = await readdir(parent);
    expect(left.toSorted()).toEqual([...stay, path.basename(scratch.dir)].toSorted());
  });

  it('is not made in memory when there is no room there for as many images as are run', async () => {
    const scratch = await Scratch.open(recordingLog().log, { images: 1e6 });
    expect(path.dirname(scratch.dir)).toBe(os.tmpdir());
    await scratch.close();
  });

  it('is made in memory or in the temporary folder when nothing else is asked for', async () => {
    const scratch = await Scratch.open(recordingLog().log);
    expect(['/dev/shm', os.tmpdir()]).toContain(path.dirname(scratch.dir));
    await scratch.close();
  });
});
