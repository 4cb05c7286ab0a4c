import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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

/** Waits until the model is up, or down. */
function until(model: Model, wanted: boolean): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  model.watch((isUp) => isUp === wanted && resolve());
  return promise;
}

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
    const down = until(model, false);
    process.kill(pids()[0] ?? 0, 'SIGKILL');
    await down;
    await until(model, true);
    expect(pids()).toHaveLength(2);
    await expect(model.run(IMAGE, REQUEST)).resolves.toMatchObject({ width: 1 });
  });

  it('is killed and replaced when it gives no sign of life, and its image is run once more', async () => {
    const { model, records } = await setUp(program('stops-in-the-first-run', mark()), {
      settings: { LOTUS_LIVENESS_TIMEOUT: '0.3' },
    });
    await expect(model.run(IMAGE, REQUEST)).resolves.toMatchObject({ width: 1 });
    const errors = records.filter(({ level }) => level === 50).map(({ msg }) => msg);
    expect(errors).toEqual(['The model process failed: it hangs: no sign of life in 0.3 s']);
  });

  it('costs the images after it nothing when it spoke garbage', async () => {
    const model = await start(program('prints-garbage-in-a-run'));
    await expect(model.run(IMAGE, REQUEST)).rejects.toMatchObject({ code: 'poison_job' });
    expect(model.lost.aborted).toBe(false);
  });

  it('is not blamed on an image that was given up and would not let go', async () => {
    const { model, records } = await setUp(program('never-answers'), {
      settings: { LOTUS_MAX_CRASHES: '1' },
    });
    for (let i = 0; i < 2; i += 1) {
      const unwanted = new AbortController();
      const run = model.run(IMAGE, { ...REQUEST, signal: unwanted.signal });
      while (!records.some(({ to }) => to === 'running')) await new Promise(setImmediate);
      records.length = 0;
      unwanted.abort();
      await expect(run).rejects.toMatchObject({ code: 'cancelled' });
      await until(model, true);
    }
    expect(model.lost.aborted).toBe(false);
    expect(model.restarts).toBe(2);
  });
});

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
    expect(reason.message).toContain('crashed 5 times in a row or in 600 s');
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
    const model = await start(program('tells-its-card'), { devices: ['0', '1', '2'] });
    expect(model.size).toBe(3);
    const maps = await Promise.all(Array.from({ length: 12 }, () => model.run(IMAGE, REQUEST)));
    expect(new Set(maps.map(({ by }) => by.device))).toEqual(new Set(['0', '1', '2']));
  });

  it('are done without when they cannot load, as long as one can', async () => {
    const { model } = await setUp(program('loads-on-one-card'), { devices: ['0', '1'] });
    expect(model.size).toBe(1);
    expect(model.ready.device).toBe('1');
    expect((await model.run(IMAGE, REQUEST)).by.device).toBe('1');
  });
});
