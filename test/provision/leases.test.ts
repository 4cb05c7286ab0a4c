import { mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { leaseHolders } from '../../src/provision/leases.ts';
import { removeUnused } from '../../src/provision/sweep.ts';
import { type Owner, thisProcess } from '../../src/storage/owner.ts';
import { talkTo } from './programs.ts';

const NAME = 'venvs/runtime-linux-x64-0123456789ab';
const HOUR = 3_600_000;

let workspace = '';
beforeEach(async () => {
  workspace = await mkdtemp(path.join(os.tmpdir(), 'leases-test-'));
  await mkdir(path.join(workspace, NAME, 'bin'), { recursive: true });
});
afterEach(() => rm(workspace, { recursive: true, force: true }));

const leases = () => readdir(path.join(workspace, 'leases'));
const holders = async (name = NAME) => (await leaseHolders(workspace, name)).map(({ pid }) => pid);

/** A process that works from the venv. */
async function worker(venv = NAME) {
  const python = path.join(workspace, venv, 'bin', 'python');
  const started = talkTo('holds-a-lease', workspace, python);
  await started.line('holds it');
  return started;
}

/** A lease as another machine would have left it, last touched so long ago by the volume's clock. */
async function leaveLease(age: number, owner: Partial<Owner> = ELSEWHERE): Promise<void> {
  const file = path.join(workspace, 'leases', `${encodeURIComponent(NAME)}~theirs.json`);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, JSON.stringify({ ...thisProcess(), ...owner }));
  const at = new Date(Date.now() - age);
  await utimes(file, at, at);
}
const ELSEWHERE: Partial<Owner> = { machine: 'another machine', host: 'pod-2', pid: 17 };

describe('a lease', () => {
  it('is held by each process that works from the venv, and goes with it', async () => {
    const [one, two] = [await worker(), await worker()];
    expect((await holders()).toSorted()).toEqual([one.pid, two.pid].toSorted());
    one.tell('leave');
    await one.ended();
    expect(await holders()).toEqual([two.pid]);
    two.tell('leave');
    await two.ended();
    expect(await leases()).toEqual([]);
  });

  it('of one that was killed is removed by who looks', async () => {
    const killed = await worker();
    killed.kill('SIGKILL');
    await killed.ended();
    expect(await leases()).toHaveLength(1);
    expect(await holders()).toEqual([]);
    expect(await leases()).toEqual([]);
  });

  it('is for that folder and no other', async () => {
    await worker();
    expect(await holders('venvs/runtime-linux-x64-ba9876543210')).toEqual([]);
    expect(await holders('releases/0.1.0-0123456789ab')).toEqual([]);
  });

  it("of a machine's own interpreter is one of the packages", async () => {
    const { pid } = await worker(`${NAME}@01234567`);
    expect(await holders()).toEqual([pid]);
  });

  it('notes that the folder is used, so that it is not the one that goes', async () => {
    await utimes(path.join(workspace, NAME), 1, 1);
    await worker();
    expect((await stat(path.join(workspace, NAME))).mtimeMs).toBeGreaterThan(2000);
  });

  it.each([
    ['a minute', 60_000],
    ['a night', 9 * HOUR],
    ['almost a day', 23.9 * HOUR],
  ])('of another machine counts after %s: workers are frozen between jobs', async (_how, age) => {
    await leaveLease(age);
    expect(await holders()).toEqual([17]);
  });

  it('of another machine counts no more after a day, and is removed', async () => {
    await leaveLease(24.1 * HOUR);
    expect(await holders()).toEqual([]);
    expect(await leases()).toEqual([]);
  });

  it('of another machine whose clock is ahead counts', async () => {
    await leaveLease(-72 * HOUR);
    expect(await holders()).toEqual([17]);
  });

  it('of this machine counts as long as the process lives, however old it is, within a day', async () => {
    await leaveLease(HOUR, {});
    expect(await holders()).toEqual([process.pid]);
  });

  it('that is damaged counts for nothing, and is removed', async () => {
    await leaveLease(0);
    const [name = ''] = await leases();
    await writeFile(path.join(workspace, 'leases', name), '{"pid": 1');
    expect(await holders()).toEqual([]);
    expect(await leases()).toEqual([]);
  });

  it('keeps a venv, and what was put beside it, from being removed', async () => {
    await mkdir(path.join(workspace, `${NAME}@01234567`));
    await leaveLease(HOUR);
    const said: string[] = [];
    const names = (await readdir(path.join(workspace, 'venvs'))).toSorted();
    const remove = () => removeUnused(workspace, 'venvs', names, (line) => said.push(line));
    expect(await remove()).toBe(false);
    expect(said).toEqual([
      expect.stringMatching(
        /^kept venvs\/runtime-linux-x64-0123456789ab: in use by lotus-worker.* on pod-2/,
      ),
      expect.stringMatching(/^kept venvs\/runtime-linux-x64-0123456789ab@01234567: in use by/),
    ]);
    await rm(path.join(workspace, 'leases'), { recursive: true });
    expect(await remove()).toBe(true);
    expect(await readdir(path.join(workspace, 'venvs'))).toEqual([]);
  });
});
