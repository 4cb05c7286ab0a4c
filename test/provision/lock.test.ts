import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isCancelled, SetupError } from '../../src/errors.ts';
import { withLock } from '../../src/provision/lock.ts';
import { type Owner, thisProcess } from '../../src/storage/owner.ts';
import { type Talker, talkTo } from './programs.ts';

/** Nobody is taken for dead by its beat within a test that does not wait for that. */
const NEVER_STALE = { beat: 20, poll: 5, stale: 3_600_000, tell: 3_600_000 };
/** Whoever stands still is taken for dead soon. */
const SOON_STALE = { ...NEVER_STALE, stale: 500 };

const RACES = path.join(import.meta.dirname, '../fixtures/provision/races-for-the-lock.ts');

let workspace = '';
beforeEach(async () => {
  workspace = await mkdtemp(path.join(os.tmpdir(), 'lock-test-'));
});
// With retries: a process that waited for the lock may get it now.
afterEach(() => rm(workspace, { recursive: true, force: true, maxRetries: 5 }));

const lock = () => path.join(workspace, 'bootstrap.lock');
const beat = () => path.join(lock(), 'beat');

/** Wait for the lock in a process of its own. */
function holder(timing: object = NEVER_STALE): Talker {
  return talkTo('holds-the-lock', workspace, JSON.stringify(timing));
}

/** Leave a lock as somebody else would have made it. */
async function leaveLock(owner: Partial<Owner>, doing = '', dir = lock()): Promise<void> {
  await mkdir(dir, { recursive: true });
  const held = { ...thisProcess(), token: 'theirs', ...owner };
  await writeFile(path.join(dir, 'owner.json'), JSON.stringify(held));
  await writeFile(path.join(dir, 'beat'), doing);
}

/** Take it here, keeping what is reported. */
async function take(timing: object, signal?: AbortSignal): Promise<string[]> {
  const said: string[] = [];
  const report = (line: string) => void said.push(line);
  await withLock({ workspace, timing, report, signal }, async () => {
    expect(existsSync(lock())).toBe(true);
  });
  return said;
}

const ELSEWHERE: Partial<Owner> = { machine: 'another machine', host: 'pod-2', pid: 17 };

function deadPid(): number {
  return spawnSync('true').pid;
}

describe('the lock', () => {
  it('is there as long as the task runs, says whose it is, and is gone with all of it then', async () => {
    const done = await withLock({ workspace, report: () => {} }, async ({ signal }) => {
      expect(await readdir(workspace)).toEqual(['bootstrap.lock']);
      const owner = JSON.parse(await readFile(path.join(lock(), 'owner.json'), 'utf8'));
      expect(owner).toMatchObject({ ...thisProcess(), since: owner.since });
      expect(signal.aborted).toBe(false);
      return 'done';
    });
    expect(done).toBe('done');
    expect(await readdir(workspace)).toEqual([]);
  });

  it('passes on what the task throws, and is gone afterwards', async () => {
    const own = new TypeError('the task’s own');
    const failing = withLock({ workspace, report: () => {} }, () => Promise.reject(own));
    await expect(failing).rejects.toBe(own);
    expect(await readdir(workspace)).toEqual([]);
  });

  it('is the next one’s, when a task has failed in a process of its own', async () => {
    const first = holder();
    await first.line('has it');
    const second = holder();
    await second.line(/^said: waiting/);
    first.tell('fail it is broken');
    expect((await first.ended()).at(-1)).toBe('ended: TypeError: it is broken');
    await second.line('has it');
  });

  it('can be taken again by the same process', async () => {
    await take(NEVER_STALE);
    expect(await take(NEVER_STALE)).toEqual([]);
  });

  it('is held by one at a time, of several that want it', async () => {
    const all = [holder(), holder(), holder(), holder()];
    const waiting = new Set(all);
    while (waiting.size > 0) {
      const [one] = await Promise.race(
        [...waiting].map((talker) => talker.line('has it').then(() => [talker] as const)),
      );
      waiting.delete(one);
      await sleep(100); // some looks of those who wait
      for (const other of waiting) expect(other.lines).not.toContain('has it');
      one.tell('leave');
      expect((await one.ended()).at(-1)).toBe('left: all done');
    }
    expect(await readdir(workspace)).toEqual([]);
  });

  it('is in no workspace that is not there', async () => {
    workspace = path.join(workspace, 'not', 'there');
    await expect(take(NEVER_STALE)).rejects.toMatchObject({ code: 'ENOENT', syscall: 'mkdir' });
    expect(existsSync(workspace)).toBe(false);
  });
});

describe('who waits', () => {
  it('says for whom, what that one is doing, and when it does something else', async () => {
    const owner = holder();
    await owner.line('has it');
    const who = `waiting for lotus-worker ${workspace} on ${os.hostname()} (process ${owner.pid}, since `;
    const waiter = holder();
    expect(await waiter.line(/^said: waiting/)).toContain(who);
    for (const doing of ['venv: installing', 'weights: 2.1 GB so far']) {
      owner.tell(`tell ${doing}`);
      const line = await waiter.line(new RegExp(`${doing}$`));
      expect(line).toContain(who);
    }
    owner.tell('leave');
    await waiter.line('has it');
  });

  it('does not say the same at every look', async () => {
    await leaveLock(ELSEWHERE, 'venv');
    const waiter = holder();
    await waiter.line(/^said: waiting/);
    await sleep(300); // some dozens of looks
    expect(waiter.lines).toHaveLength(1);
  });

  it('says it again after a while, so that nobody takes it for dead', async () => {
    await leaveLock(ELSEWHERE, 'venv');
    const waiter = holder({ ...NEVER_STALE, tell: 50 });
    await waiter.line(/^said: waiting/);
    while (waiter.lines.length < 3) await sleep(10);
    expect(new Set(waiter.lines).size).toBe(1);
  });

  it('leaves nothing behind when it is cancelled', async () => {
    await leaveLock(ELSEWHERE);
    const interrupt = new AbortController();
    const waiting = take(NEVER_STALE, interrupt.signal).catch((error: unknown) => error);
    await sleep(100); // some looks
    interrupt.abort();
    expect(isCancelled(await waiting)).toBe(true);
    expect(await readdir(workspace)).toEqual(['bootstrap.lock']);
    expect((await readdir(lock())).toSorted()).toEqual(['beat', 'owner.json']);
    expect(await readFile(path.join(lock(), 'owner.json'), 'utf8')).toContain('theirs');
  });

  it('leaves nothing behind when it was cancelled before', async () => {
    const failure = await take(NEVER_STALE, AbortSignal.abort()).catch((error: unknown) => error);
    expect(isCancelled(failure)).toBe(true);
    expect(await readdir(workspace)).toEqual([]);
  });

  it('is cancelled by Ctrl-C, in a process of its own', async () => {
    await leaveLock(ELSEWHERE);
    const waiter = holder();
    await waiter.line(/^said: waiting/);
    waiter.kill('SIGINT');
    expect((await waiter.ended()).at(-1)).toBe('ended: LotusError: Cancelled.');
    expect(await readdir(workspace)).toEqual(['bootstrap.lock']);
  });
});

describe('the task', () => {
  it('is told when the caller cancels, and has its own error passed on', async () => {
    const owner = holder();
    await owner.line('has it');
    owner.kill('SIGINT');
    expect((await owner.ended()).slice(1)).toEqual([
      'aborted',
      'ended: Error: the task was aborted',
    ]);
    expect(await readdir(workspace)).toEqual([]);
  });
});

describe('a lock whose owner was on this machine', () => {
  it('is taken over when the owner was killed', async () => {
    const owner = holder();
    await owner.line('has it');
    owner.kill('SIGKILL');
    await owner.ended();
    const [said] = await take(NEVER_STALE);
    expect(said).toContain('took over from lotus-worker');
    expect(said).toContain(`(process ${owner.pid}, since `);
    expect(await readdir(workspace)).toEqual([]);
  });

  it('is taken over by one that waited for it when it was killed', async () => {
    const owner = holder();
    await owner.line('has it');
    const waiter = holder();
    await waiter.line(/^said: waiting/);
    owner.kill('SIGKILL');
    await waiter.line(/^said: took over from/);
    await waiter.line('has it');
  });

  it('is taken over when its pid is that of another process now', async () => {
    await leaveLock({ pid: process.pid, born: '1' });
    expect(await take(NEVER_STALE)).toEqual([expect.stringContaining('took over from')]);
  });

  it.runIf(process.platform === 'linux')(
    'is taken over when the owner is dead and nobody has asked how it ended',
    async () => {
      // In a container whose first process is no init, that is how a killed process stays.
      const code = 'node "$@" <&- & echo $! && exec sleep 1000';
      const program = path.join(import.meta.dirname, '../fixtures/provision/holds-the-lock.ts');
      const args = ['-c', code, 'sh', program, workspace, JSON.stringify(NEVER_STALE)];
      const parent = execa('sh', args, { reject: false });
      try {
        while (!existsSync(lock())) await sleep(10);
        const { pid } = JSON.parse(await readFile(path.join(lock(), 'owner.json'), 'utf8'));
        process.kill(pid, 'SIGKILL');
        while (!/^State:\s+Z/m.test(await readFile(`/proc/${pid}/status`, 'utf8'))) await sleep(10);
        const waiting = AbortSignal.timeout(20_000); // a bound; the next look is to see it
        expect(await take(NEVER_STALE, waiting)).toEqual([expect.stringContaining('took over')]);
      } finally {
        parent.kill('SIGKILL');
        await parent;
      }
    },
  );

  it('is waited for as long as it lives and beats', async () => {
    const owner = holder();
    await owner.line('has it');
    const waiter = holder({ ...NEVER_STALE, stale: 2000 });
    await sleep(4000);
    expect(waiter.lines).toEqual([expect.stringContaining('said: waiting')]);
    owner.tell('leave');
    expect((await owner.ended()).at(-1)).toBe('left: all done');
    await waiter.line('has it');
  });
});

describe('a lock whose owner is on another machine', () => {
  it('is waited for as long as it beats, and taken over when its beat stands still', async () => {
    await leaveLock(ELSEWHERE, 'weights: 1.0 GB so far');
    const waiter = holder({ ...NEVER_STALE, stale: 2000 });
    const who = 'lotus-worker.* on pod-2 \\(process 17, since .*\\)';
    await waiter.line(new RegExp(`^said: waiting for ${who}: weights: 1.0 GB so far$`));
    for (let beats = 1; beats < 80; beats += 1) {
      // Its clock is not ours: what counts is that it moves.
      await utimes(beat(), beats, beats);
      await sleep(50);
      expect(waiter.lines).toHaveLength(1);
    }
    await waiter.line('has it');
    expect(waiter.lines[1]).toMatch(new RegExp(`^said: took over from ${who}, which is dead$`));
  });

  it('is waited for though a process with its pid is dead here', async () => {
    await leaveLock({ ...ELSEWHERE, pid: deadPid(), born: '1' });
    const waiter = holder();
    await waiter.line(/^said: waiting/);
    await sleep(300);
    expect(waiter.lines).not.toContain('has it');
  });
});

describe('a dead lock whose taker died over it', () => {
  const claim = () => path.join(lock(), 'claim');

  it.each<[string, Partial<Owner>]>([
    ['another machine', ELSEWHERE],
    ['this machine', { pid: deadPid() }],
  ])('is freed when the claim of one on %s has stood still', async (_where, claimant) => {
    await leaveLock(ELSEWHERE);
    await leaveLock({ ...claimant }, '', claim());
    const waiting = AbortSignal.timeout(20_000); // a bound, ten times what it is to take
    expect((await take(SOON_STALE, waiting)).at(-1)).toContain('took over from');
    expect(await readdir(workspace)).toEqual([]);
  });

  it.each([
    ['damaged', '{"token": '],
    ['another object', '{}'],
  ])('is freed when the claim is %s', async (_how, text) => {
    await leaveLock(ELSEWHERE);
    await leaveLock(ELSEWHERE, '', claim());
    await writeFile(path.join(claim(), 'owner.json'), text);
    const waiting = AbortSignal.timeout(20_000);
    expect((await take(SOON_STALE, waiting)).at(-1)).toContain('took over from');
    expect(await readdir(workspace)).toEqual([]);
  });

  it('is freed also when one died over the claim', async () => {
    await leaveLock(ELSEWHERE);
    await leaveLock(ELSEWHERE, '', claim());
    await leaveLock(ELSEWHERE, '', path.join(claim(), 'claim'));
    const waiting = AbortSignal.timeout(20_000);
    expect((await take(SOON_STALE, waiting)).at(-1)).toContain('took over from');
    expect(await readdir(workspace)).toEqual([]);
  });

  it('is left to one who claims it now', async () => {
    await leaveLock({ pid: deadPid() });
    await leaveLock(ELSEWHERE, '', claim());
    const waiting = take(NEVER_STALE, AbortSignal.timeout(300)).catch((error: unknown) => error);
    expect(isCancelled(await waiting)).toBe(true);
    expect((await readdir(lock())).toSorted()).toEqual(['beat', 'claim', 'owner.json']);
    expect((await readdir(claim())).toSorted()).toEqual(['beat', 'owner.json']);
  });
});

describe('an owner that stood still', () => {
  it('finds its lock gone when it goes on, stops, and leaves the new one alone', async () => {
    const frozen = holder();
    await frozen.line('has it');
    frozen.kill('SIGSTOP');
    const next = holder(SOON_STALE);
    await next.line(/^said: took over from/);
    await next.line('has it');
    const before = await readFile(path.join(lock(), 'owner.json'), 'utf8');
    frozen.kill('SIGCONT');
    const [, aborted, end] = await frozen.ended();
    expect(aborted).toBe('aborted');
    expect(end).toContain('ended: SetupError: Lost the lock');
    expect(end).toContain(
      `It belongs to lotus-worker ${workspace} on ${os.hostname()} (process ${next.pid}`,
    );
    expect(end).toContain('run it again');
    expect(await readFile(path.join(lock(), 'owner.json'), 'utf8')).toBe(before);
    next.tell('leave');
    expect((await next.ended()).at(-1)).toBe('left: all done');
    expect(await readdir(workspace)).toEqual([]);
  });

  it('keeps it when nobody wanted it', async () => {
    const owner = holder(SOON_STALE);
    await owner.line('has it');
    owner.kill('SIGSTOP');
    await sleep(1000);
    owner.kill('SIGCONT');
    owner.tell('leave');
    expect(await owner.ended()).toEqual(['has it', 'left: all done']);
  });

  it('stops also when the new one has gone already', async () => {
    const frozen = holder();
    await frozen.line('has it');
    frozen.kill('SIGSTOP');
    await take(SOON_STALE);
    frozen.kill('SIGCONT');
    expect((await frozen.ended()).at(-1)).toContain('ended: SetupError: Lost the lock');
    expect(await readdir(workspace)).toEqual([]);
  });

  it('says nothing in the name of the new one', async () => {
    const frozen = holder({ ...NEVER_STALE, beat: 3_600_000 }); // it does not find out by itself
    await frozen.line('has it');
    frozen.kill('SIGSTOP');
    const next = holder(SOON_STALE);
    await next.line('has it');
    next.tell('tell what the new one does');
    while ((await readFile(beat(), 'utf8')) !== 'what the new one does') await sleep(5);
    frozen.kill('SIGCONT');
    frozen.tell('tell what the old one does');
    frozen.tell('fail it was told'); // after that it is sure to have said it
    await frozen.ended();
    expect(await readFile(beat(), 'utf8')).toBe('what the new one does');
  });

  it('says what it was that it lost, when what is there now is nobody’s', async () => {
    const owner = holder();
    await owner.line('has it');
    await rm(path.join(lock(), 'owner.json'));
    const end = (await owner.ended()).at(-1) ?? '';
    expect(end).toContain('ended: SetupError: Lost the lock');
    expect(end).not.toContain('process 0');
  });
});

describe('a task whose lock another has', () => {
  it('ends with that, also when what it throws is something else', async () => {
    const lost = withLock({ workspace, report: () => {}, timing: NEVER_STALE }, async (held) => {
      await rm(lock(), { recursive: true });
      await leaveLock(ELSEWHERE);
      await new Promise((resolve) => held.signal.addEventListener('abort', resolve));
      throw new TypeError('stopped half way');
    });
    const error = await lost.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(SetupError);
    expect(String(error)).toContain('on pod-2 (process 17');
    expect(await readFile(path.join(lock(), 'owner.json'), 'utf8')).toContain('theirs');
  });
});

describe('what lies in the place of a lock', () => {
  it('is no lock when it is an empty folder', async () => {
    await mkdir(lock());
    expect(await take(NEVER_STALE)).toEqual([]);
    expect(await readdir(workspace)).toEqual([]);
  });

  it('has its time when it is a folder without an owner, and is then taken away', async () => {
    await mkdir(lock());
    await writeFile(path.join(lock(), 'something'), '');
    const waiter = holder();
    await waiter.line('said: waiting for whoever made it');
    await sleep(300);
    expect(waiter.lines).toHaveLength(1);
    expect(await take(SOON_STALE)).toEqual([
      'waiting for whoever made it',
      'took over from nobody known, which is dead',
    ]);
    await waiter.line('has it');
  });

  it.each([
    ['empty', ''],
    ['cut off', '{"token": "theirs", "ho'],
    ['no object', 'null'],
    ['another object', '{}'],
  ])('has its time when its owner.json is %s, and is then taken away', async (_how, text) => {
    await leaveLock(ELSEWHERE);
    await writeFile(path.join(lock(), 'owner.json'), text);
    const waiting = AbortSignal.timeout(20_000); // a bound, ten times what it is to take
    const said = await take(SOON_STALE, waiting);
    expect(said.at(-1)).toContain('took over');
    expect(await readdir(workspace)).toEqual([]);
  });

  it('is told of when it is a file', async () => {
    await writeFile(lock(), '');
    await expect(take(NEVER_STALE)).rejects.toMatchObject({ code: 'ENOTDIR' });
    expect(await readdir(workspace)).toEqual(['bootstrap.lock']);
  });
});

describe('a dead lock that several find at once', () => {
  async function race(racers: number, rounds: number) {
    const pid = deadPid();
    for (let round = 0; round < rounds; round += 1) {
      await leaveLock({ pid }, '', path.join(workspace, `${round}`, 'bootstrap.lock'));
    }
    const all = await Promise.all(
      Array.from({ length: racers }, async (_, n) => {
        const args = [RACES, workspace, `${rounds}`, `racer-${n}`, `${racers}`];
        const { stdout } = await execa(process.execPath, args);
        return JSON.parse(stdout);
      }),
    );
    const left: string[] = [];
    for (let round = 0; round < rounds; round += 1) {
      left.push(...(await readdir(path.join(workspace, `${round}`))));
    }
    return { pid, all, left };
  }

  it.each([
    [2, 200],
    [6, 60],
  ])(
    'is taken by each of %i once, one after the other, and nothing is left',
    async (racers, rounds) => {
      const { pid, all, left } = await race(racers, rounds);
      const sum = (of: (one: (typeof all)[number]) => number) =>
        all.reduce((total, one) => total + of(one), 0);
      expect({
        errors: all.flatMap(({ errors }) => errors),
        held: sum(({ held }) => held),
        together: sum(({ together }) => together),
        tookOverFrom: all.flatMap(({ tookOver }) => tookOver),
        left,
      }).toEqual({
        errors: [],
        held: racers * rounds,
        together: 0,
        tookOverFrom: Array.from({ length: rounds }, () => `${pid}`),
        left: [],
      });
    },
  );
});
