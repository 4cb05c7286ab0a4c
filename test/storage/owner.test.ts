import { spawnSync } from 'node:child_process';
import os from 'node:os';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { describeOwner, isGone, ownerSchema, thisProcess } from '../../src/storage/owner.ts';

const isLinux = process.platform === 'linux';

/** The owner that another process takes itself for. */
async function ownerOf(code = '', ...within: string[]) {
  const file = JSON.stringify(new URL('../../src/storage/owner.ts', import.meta.url).href);
  const script = `const { thisProcess } = await import(${file}); console.log(JSON.stringify(thisProcess())); ${code}`;
  const [program = '', ...rest] = [...within, process.execPath];
  const child = execa(program, [...rest, '--input-type=module', '-e', script], { reject: false });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await child;
  });
  const line = await new Promise<string>((resolve) => child.stdout.once('data', resolve));
  return { child, owner: ownerSchema.parse(JSON.parse(String(line))) };
}
const LIVES = 'setInterval(() => {}, 1000);';

describe('an owner', () => {
  it('says for people who it is, where and since when', () => {
    const owner = {
      ...thisProcess(),
      command: 'lotus-worker bootstrap',
      since: '2026-01-31T12:00:00.000Z',
    };
    expect(describeOwner(owner)).toBe(
      `lotus-worker bootstrap on ${os.hostname()} (process ${process.pid}, since 2026-01-31T12:00:00.000Z)`,
    );
  });

  it('is not gone as long as its process lives, and is when that has ended', async () => {
    expect(isGone(thisProcess())).toBe(false);
    const { child, owner } = await ownerOf(LIVES);
    expect(isGone(owner)).toBe(false);
    child.kill('SIGKILL');
    await child;
    expect(isGone(owner)).toBe(true);
  });

  it.runIf(isLinux)('is gone when its number is that of another process now', () => {
    expect(isGone({ ...thisProcess(), born: '1' })).toBe(true);
  });

  it('is not known to be gone when it was on another machine, whatever runs here', () => {
    const elsewhere = { ...thisProcess(), machine: 'another kernel' };
    expect(isGone(elsewhere)).toBe(false);
    expect(isGone({ ...elsewhere, pid: spawnSync('true').pid })).toBe(false);
  });

  it('is not gone when nothing is known of its start', () => {
    expect(isGone({ ...thisProcess(), born: null })).toBe(false);
  });

  const unshare = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const canUnshare = spawnSync('unshare', [...unshare.slice(1), 'true']).status === 0;
  it.runIf(canUnshare)('in another container of this machine is on another machine', async () => {
    const { owner } = await ownerOf(LIVES, ...unshare);
    expect(owner.pid).toBe(1); // as in every container: here, that is somebody else
    expect(owner.machine).not.toBe(thisProcess().machine);
    expect(isGone(owner)).toBe(false);
  });
});
