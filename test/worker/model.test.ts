import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { readConfig } from '../../src/config.ts';
import type { WorkerCommand } from '../../src/worker/child.ts';
import { Model, type ModelOptions, type RunRequestOptions } from '../../src/worker/model.ts';
import { IMPATIENT, NOWHERE, program, RUN, recordingLog } from './programs.ts';

const IMAGE = { pixels: Buffer.from([1, 2, 3]), width: 1, height: 1 };
const SOUND = { ...IMAGE, pixels: Buffer.from([9, 9, 9]) };
const REQUEST = { options: RUN.options, picture: RUN.picture, planes: new Set<never>() };

let scratchDir = '';
let models: Model[] = [];
beforeEach(async () => {
  scratchDir = await mkdtemp(path.join(os.tmpdir(), 'model-test-'));
  models = [];
});
afterEach(async () => {
  await Promise.all(models.map((model) => model.stop()));
  await rm(scratchDir, { recursive: true, force: true });
});

interface Setup extends Partial<ModelOptions> {
  settings?: Record<string, string>;
}

async function setUp(command: WorkerCommand, { settings, ...more }: Setup = {}) {
  const env = { HOME: '/home/user', LOTUS_SCRATCH_DIR: scratchDir, ...settings };
  const { log, records } = recordingLog();
  const model = await Model.start({
    config: readConfig(env),
    installation: NOWHERE,
    env,
    log,
    command,
    patience: IMPATIENT,
    pace: { firstMs: 1, maxMs: 5 },
    ...more,
  });
  models.push(model);
  /** The processes that were ready, in their order. */
  const pids = () =>
    records.filter(({ msg }) => msg === 'the model is ready').map(({ pid }) => Number(pid));
  return { model, records, pids };
}

async function start(command: WorkerCommand, setup?: Setup): Promise<Model> {
  return (await setUp(command, setup)).model;
}

const mark = () => path.join(scratchDir, 'mark');

function seeded(seed: number): RunRequestOptions {
  return { ...REQUEST, options: { ...RUN.options, seed } };
}

/** Waits until so many processes run images. */
function until(model: Model, wanted: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  model.watch((processes) => processes === wanted && resolve());
  return promise;
}

const levelled = (records: Record<string, unknown>[], level: number) =>
  records.filter((record) => record.level === level).map(({ msg }) => msg);

describe('Model', () => {
  it('runs images one after the other, in the order they came', async () => {
    const model = await start(program('well-behaved'));
    const order: number[] = [];
    const runs = [0, 1, 2, 3].map((i) => model.run(IMAGE, REQUEST).then(() => order.push(i)));
    await Promise.all(runs);
    expect(order).toEqual([0, 1, 2, 3]);
  });

  it('takes no run after its end, and starts nothing for it', async () => {
    const model = await start(program('well-behaved'));
    const waiting = [model.run(IMAGE, REQUEST), model.run(IMAGE, REQUEST)];
    const outcomes = Promise.allSettled(waiting);
    await model.stop();
    await outcomes;
    await expect(model.run(IMAGE, REQUEST)).rejects.toMatchObject({ code: 'cancelled' });
    expect(await readdir(scratchDir)).toEqual([]);
  });

  it('leaves no file in the scratch folder after a run, and no folder after its end', async () => {
    const model = await start(program('runs-out-of-memory'));
    await expect(model.run(IMAGE, REQUEST)).rejects.toMatchObject({ code: 'out_of_memory' });
    const [folder] = await readdir(scratchDir);
    expect(await readdir(path.join(scratchDir, folder ?? ''))).toEqual([]);
    await model.stop();
    expect(await readdir(scratchDir)).toEqual([]);
  });

  it('leaves no scratch folder when the model cannot be loaded', async () => {
    await expect(start(program('fails-to-load'))).rejects.toMatchObject({
      code: 'model_unavailable',
    });
    expect(await readdir(scratchDir)).toEqual([]);
  });

  it('lets an image go that nobody wants any more, before its turn', async () => {
    const model = await start(program('never-answers'));
    const running = expect(model.run(IMAGE, REQUEST)).rejects.toMatchObject({ code: 'cancelled' });
    const unwanted = new AbortController();
    const waiting = model.run(IMAGE, { ...REQUEST, signal: unwanted.signal });
    unwanted.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    await model.stop();
    await running;
  });
});

describe('a process that dies', () => {
  it('costs its image nothing but time: it is run once more', async () => {
    const model = await start(program('dies-in-the-first-run', mark()));
    const [first, second] = await Promise.all([
      model.run(IMAGE, REQUEST),
      model.run(IMAGE, REQUEST),
    ]);
    expect(first).toMatchObject({ width: 1 });
    expect(second).toMatchObject({ width: 1 });
    expect(model.restarts).toBe(1);
  });

  it('is replaced at once when nothing is asked of it, also before it has run anything', async () => {
    const { model, pids } = await setUp(program('well-behaved'));
    const down = until(model, 0);
    process.kill(pids()[0] ?? 0, 'SIGKILL');
    await down;
    await until(model, 1);
    expect(pids()).toHaveLength(2);
    await expect(model.run(IMAGE, REQUEST)).resolves.toMatchObject({ width: 1 });
  });

  it('is killed and replaced when it gives no sign of life, and its image is run once more', async () => {
    const { model, records } = await setUp(program('stops-in-the-first-run', mark()), {
      settings: { LOTUS_LIVENESS_TIMEOUT: '0.3' },
    });
    await expect(model.run(IMAGE, REQUEST)).resolves.toMatchObject({ width: 1 });
    expect(levelled(records, 50)).toEqual([
      'The model process failed: it hangs: no sign of life in 0.3 s',
    ]);
  });

  it('costs the images after it nothing when it spoke garbage', async () => {
    const model = await start(program('prints-garbage-in-a-run'));
    await expect(model.run(IMAGE, REQUEST)).rejects.toMatchObject({ code: 'poison_job' });
    expect(model.lost.aborted).toBe(false);
  });

  it('is killed when it does not let go of what was given up, and that is no crash', async () => {
    const { model, records } = await setUp(program('never-answers'), {
      settings: { LOTUS_MAX_CRASHES: '3' },
    });
    for (let i = 0; i < 2; i += 1) {
      await expect(givenUp(model, records)).rejects.toMatchObject({ code: 'cancelled' });
      await until(model, 1);
    }
    expect(model.lost.aborted).toBe(false);
    expect(model.restarts).toBe(2);
    expect(levelled(records, 40)).toContain('the model process does not let go of a run: killed');
  });

  it('ends the model when that is all that it does', async () => {
    const { model, records } = await setUp(program('never-answers'), {
      settings: { LOTUS_MAX_CRASHES: '2' },
    });
    await expect(givenUp(model, records)).rejects.toMatchObject({ code: 'cancelled' });
    await until(model, 1);
    await expect(givenUp(model, records)).rejects.toMatchObject({ code: 'cancelled' });
    await until(model, 0);
    await expect(model.run(IMAGE, REQUEST)).rejects.toMatchObject({ code: 'model_unavailable' });
  });

  it('is not blamed on an image that it had not begun', async () => {
    const model = await start(program('dies-before-it-begins', mark()));
    await expect(model.run(IMAGE, REQUEST)).resolves.toMatchObject({ width: 1 });
    expect(model.restarts).toBe(2);
  });

  it('is left when it cannot be killed, and its place is given up', async () => {
    const { model, records, pids } = await setUp(program('stops-in-the-first-run', mark()), {
      settings: { LOTUS_LIVENESS_TIMEOUT: '0.3' },
    });
    vi.spyOn(process, 'kill').mockReturnValue(true); // as in a driver's call: no signal has an effect
    try {
      const error = await model.run(IMAGE, REQUEST).catch((reason) => reason);
      expect(error).toMatchObject({ code: 'model_unavailable' });
      expect(error.message).toContain(`it cannot be killed (pid ${pids()[0]})`);
      expect(model.lost.aborted).toBe(true);
      await model.stop();
      expect(levelled(records, 50).at(-1)).toContain('given up: ');
    } finally {
      vi.mocked(process.kill).mockRestore();
      killIfThere(pids()[0]);
    }
  });

  it('is left also when it hangs in a load, and no other is started beside it', async () => {
    const { model, pids, records } = await setUp(program('hangs-in-the-second-load', mark()), {
      settings: { LOTUS_LOAD_TIMEOUT: '1' },
    });
    process.kill(pids()[0] ?? 0, 'SIGKILL');
    vi.spyOn(process, 'kill').mockReturnValue(true);
    try {
      const error = await model.run(IMAGE, REQUEST).catch((reason) => reason);
      expect(error.message).toContain('it cannot be killed');
      expect(model.lost.reason).toBe(error);
      expect(levelled(records, 50).at(-1)).toContain('given up: ');
    } finally {
      vi.mocked(process.kill).mockRestore();
      killIfThere(Number(await readFile(mark(), 'utf8')));
    }
  });

  it('is not told to have died of an image when the end was wanted', async () => {
    const { model, records } = await setUp(program('never-answers'));
    const run = model.run(IMAGE, REQUEST).catch((error) => error.code);
    await begun(records);
    await model.stop();
    expect(await run).toBe('cancelled');
    expect(levelled(records, 40)).toEqual([]);
  });
});

/** What was left may have ended meanwhile: its input is closed. */
function killIfThere(pid: number | undefined): void {
  try {
    if (pid) process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Waits until an image is run. */
async function begun(records: Record<string, unknown>[]): Promise<void> {
  while (!records.some(({ to }) => to === 'running')) await new Promise(setImmediate);
  records.splice(0, records.length, ...records.filter(({ to }) => to !== 'running'));
}

/** An image that is given up while it is run. */
async function givenUp(model: Model, records: Record<string, unknown>[]): Promise<unknown> {
  const unwanted = new AbortController();
  const run = model.run(IMAGE, { ...REQUEST, signal: unwanted.signal });
  await Promise.race([begun(records), run]);
  unwanted.abort();
  return await run;
}

describe('an image that kills', () => {
  it('is refused after the second time, and not run again', async () => {
    const model = await start(program('dies-of-seed-13', mark()));
    await expect(model.run(IMAGE, seeded(13))).rejects.toMatchObject({
      code: 'poison_job',
      status: 500,
      retryable: false,
    });
    await model.run(IMAGE, seeded(1)).catch(() => {}); // up again
    const starts = await readFile(mark(), 'utf8');
    await expect(model.run(IMAGE, seeded(13))).rejects.toMatchObject({ code: 'poison_job' });
    expect(await readFile(mark(), 'utf8')).toBe(starts);
  });

  it('is known by its pixels and options, and not by its seed', async () => {
    const model = await start(program('dies-of-seed-13'));
    await expect(model.run(IMAGE, seeded(13))).rejects.toMatchObject({ code: 'poison_job' });
    await expect(model.run(IMAGE, seeded(14))).rejects.toMatchObject({ code: 'poison_job' });
    const other = { ...IMAGE, pixels: Buffer.from([1, 2, 4]) };
    await expect(model.run(other, seeded(14))).resolves.toMatchObject({ width: 1 });
    const options = { ...RUN.options, processing_res: 64 };
    const smaller = model.run(IMAGE, { ...REQUEST, options });
    await expect(smaller).resolves.toMatchObject({ width: 1 });
  });

  it('has its processes forgiven before that counts', async () => {
    const { model, pids } = await setUp(program('dies-of-seed-13'), {
      settings: { LOTUS_MAX_CRASHES: '3' },
    });
    const down = until(model, 0);
    process.kill(pids()[0] ?? 0, 'SIGKILL');
    await down;
    await expect(model.run(SOUND, seeded(1))).resolves.toMatchObject({ width: 1 });
    await expect(model.run(IMAGE, seeded(13))).rejects.toMatchObject({ code: 'poison_job' });
    await expect(model.run(SOUND, seeded(1))).resolves.toMatchObject({ width: 1 });
  });

  it('is refused also to those who have sent it at the same time, and spares the others', async () => {
    const { model, pids } = await setUp(program('dies-of-seed-13'), {
      settings: { LOTUS_MAX_CRASHES: '4' },
    });
    const copies = Array.from({ length: 5 }, () => model.run(IMAGE, seeded(13)));
    const other = model.run(SOUND, seeded(1));
    const outcomes = await Promise.allSettled(copies);
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({ reason: { code: 'poison_job' } });
    await expect(other).resolves.toMatchObject({ width: 1 });
    expect(pids()).toHaveLength(3); // it took two
  });

  it('is refused when it was killed for its deadline twice', async () => {
    const model = await start(program('never-answers'), {
      settings: { LOTUS_JOB_TIMEOUT: '0.05' },
    });
    await expect(model.run(IMAGE, REQUEST)).rejects.toMatchObject({ code: 'timed_out' });
    await expect(model.run(IMAGE, REQUEST)).rejects.toMatchObject({ code: 'timed_out' });
    await expect(model.run(IMAGE, REQUEST)).rejects.toMatchObject({ code: 'poison_job' });
    expect(model.lost.aborted).toBe(false);
  });

  it('does not count against the process, as long as other images go well', async () => {
    const model = await start(program('dies-of-seed-13'), { settings: { LOTUS_MAX_CRASHES: '3' } });
    for (let i = 0; i < 5; i += 1) {
      const image = { ...IMAGE, pixels: Buffer.from([i, 2, 3]) };
      await expect(model.run(image, seeded(13))).rejects.toMatchObject({ code: 'poison_job' });
      await expect(model.run(SOUND, seeded(1))).resolves.toMatchObject({ width: 1 });
    }
    expect(model.lost.aborted).toBe(false);
  });
});

describe('a model that is lost', () => {
  it('is one whose process does not come back: it is told once, and to every image', async () => {
    const model = await start(program('dies-in-a-run-and-does-not-come-back', mark()));
    const [first, second] = await Promise.allSettled([
      model.run(IMAGE, REQUEST),
      model.run(IMAGE, REQUEST),
    ]);
    const reason = first.status === 'rejected' && first.reason;
    expect(reason).toMatchObject({ code: 'model_unavailable' });
    expect(reason.message).toContain('crashed too often, 5 in a row (LOTUS_MAX_CRASHES)');
    expect(second.status === 'rejected' && second.reason).toBe(reason);
    expect(model.lost.reason).toBe(reason);
    await expect(model.run(IMAGE, REQUEST)).rejects.toBe(reason);
  });

  it('is one whose process dies of every image, though it always comes back', async () => {
    const model = await start(program('dies-in-a-run'), { settings: { LOTUS_MAX_CRASHES: '4' } });
    const outcomes = await Promise.allSettled(
      [1, 2, 3].map((n) => model.run({ ...IMAGE, pixels: Buffer.from([n, 0, 0]) }, REQUEST)),
    );
    const codes = outcomes.map((outcome) => outcome.status === 'rejected' && outcome.reason.code);
    expect(codes).toEqual(['poison_job', 'poison_job', 'model_unavailable']);
    expect(model.lost.aborted).toBe(true);
  });

  it('is not one that runs out of memory with every image', async () => {
    const model = await start(program('runs-out-of-memory'), {
      settings: { LOTUS_MAX_CRASHES: '1' },
    });
    for (let i = 0; i < 3; i += 1) {
      await expect(model.run(IMAGE, REQUEST)).rejects.toMatchObject({ code: 'out_of_memory' });
    }
    expect(model.restarts).toBe(0);
  });
});

describe('a process that grows', () => {
  it('is replaced between images when it has grown too much', async () => {
    const { model, records, pids } = await setUp(program('grows'), {
      settings: { LOTUS_MEMORY_GROWTH: String(100 * 2 ** 20) },
    });
    for (let i = 0; i < 4; i += 1) await model.run(IMAGE, REQUEST);
    expect(pids()).toHaveLength(2);
    const [said] = records.filter(({ grown }) => grown !== undefined);
    expect(said?.grown).toBeGreaterThan(100 * 2 ** 20);
    expect(records.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });
});

describe('several devices', () => {
  it('get a process each, and images run on all of them', async () => {
    const model = await start(program('tells-its-card', scratchDir, '3'), {
      devices: ['0', '1', '2'],
    });
    expect(model.up).toBe(3);
    const maps = await Promise.all(Array.from({ length: 12 }, () => model.run(IMAGE, REQUEST)));
    expect(new Set(maps.map(({ by }) => by.device))).toEqual(new Set(['0', '1', '2']));
  });

  it('are done without when they cannot load, which is told, as long as one can', async () => {
    const { model, records } = await setUp(program('loads-on-one-card'), { devices: ['0', '1'] });
    expect(model.up).toBe(1);
    expect(model.ready.device).toBe('1');
    expect((await model.run(IMAGE, REQUEST)).by.device).toBe('1');
    expect(records.filter(({ level }) => level === 50)).toMatchObject([
      { gpu: '0', msg: 'given up: it was model_not_found' },
    ]);
  });

  it('come later when they fail at first', async () => {
    const model = await start(program('dies-at-the-first-load-on-card-1', mark()), {
      devices: ['0', '1'],
    });
    await until(model, 2);
  });

  it('run the image again on another card, that one died of', async () => {
    const { model, pids } = await setUp(program('dies-in-the-first-run', mark()), {
      devices: ['0', '1'],
      pace: { firstMs: 60_000, maxMs: 60_000 },
    });
    await expect(model.run(IMAGE, REQUEST)).resolves.toMatchObject({ width: 1 });
    expect(pids()).toHaveLength(2);
  });
});
