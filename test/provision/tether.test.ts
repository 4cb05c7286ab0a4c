import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { inRoot, whyNoRoot } from '../docker/root.ts';
import { talkTo } from './programs.ts';

const { failed } = await execa('/usr/bin/setpriv', ['--pdeathsig', 'KILL', 'true'], {
  reject: false,
});

/** Whether a process is there, and not only waits to be asked how it ended. */
async function lives(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State:\tX');
  return !/^State:\s+[ZX]/m.test(status);
}

async function start(how: 'tied' | 'free') {
  const parent = talkTo('starts-a-program', how, 'sh', '-c', 'echo "is $$" >&2; exec sleep 1000');
  const pid = Number((await parent.line(/^is \d+$/)).slice(3));
  onTestFinished(async () => {
    if (await lives(pid)) process.kill(pid, 'SIGKILL');
  });
  return { parent, pid };
}

describe.skipIf(failed)('a program that ends with us', () => {
  it('is killed when we are', async () => {
    const { parent, pid } = await start('tied');
    parent.kill('SIGKILL');
    await parent.ended();
    while (await lives(pid)) await sleep(10);
    expect(existsSync(`/proc/${pid}/exe`)).toBe(false);
  });

  it('goes on where it is not said that it ends', async () => {
    const { parent, pid } = await start('free');
    parent.kill('SIGKILL');
    await parent.ended();
    await sleep(300);
    expect(await lives(pid)).toBe(true);
  });
});

it.skipIf(whyNoRoot() !== null)(
  'runs a program as it is where there is nothing to tie it with',
  async () => {
    const dir = await mkdtemp(path.join(os.tmpdir(), 'tether-test-'));
    onTestFinished(() => rm(dir, { recursive: true, force: true }));
    const source = path.join(dir, 'setpriv');
    await writeFile(source, '#!/bin/sh\necho "unknown option" >&2; exit 1\n');
    await chmod(source, 0o755);
    const program = path.join(import.meta.dirname, '../fixtures/provision/starts-a-program.ts');
    const command = [process.execPath, program, 'tied', 'sh', '-c', 'echo ran >&2'] as const;
    const { stdout, stderr } = await inRoot(command, {
      binds: [{ source, target: '/usr/bin/setpriv' }],
      env: { PATH: '/usr/bin:/bin' },
    });
    expect({ stdout, stderr }).toEqual({ stdout: 'ran', stderr: '' });
  },
);
