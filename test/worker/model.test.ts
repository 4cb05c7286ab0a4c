import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { Model } from '../../src/worker/model.ts';
import type { WorkerCommand } from '../../src/worker/process.ts';
import { NOWHERE, program, RUN, recordingLog } from './programs.ts';

const IMAGE = { pixels: Buffer.from([1, 2, 3]), width: 1, height: 1 };
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

async function start(command: WorkerCommand): Promise<Model> {
  const env = { HOME: '/home/user', LOTUS_SCRATCH_DIR: scratchDir };
  const { log } = recordingLog();
  const model = await Model.start({
    config: readConfig(env),
    installation: NOWHERE,
    env,
    log,
    command,
  });
  models.push(model);
  return model;
}

const mark = () => path.join(scratchDir, 'mark');

describe('Model', () => {
  it('runs images one after the other, in the order they came', async () => {
    const model = await start(program('well-behaved'));
    const order: number[] = [];
    const runs = [0, 1, 2, 3].map((i) => model.run(IMAGE, REQUEST).then(() => order.push(i)));
    await Promise.all(runs);
    expect(order).toEqual([0, 1, 2, 3]);
  });

  it('replaces a process that died: one image costs itself and not the rest', async () => {
    const model = await start(program('dies-in-the-first-run', mark()));
    const [first, second] = await Promise.allSettled([
      model.run(IMAGE, REQUEST),
      model.run(IMAGE, REQUEST),
    ]);
    expect(first).toMatchObject({ status: 'rejected', reason: { code: 'worker_crashed' } });
    expect(second).toMatchObject({ status: 'fulfilled' });
  });

  it('does not try again and again to start what does not start', async () => {
    const model = await start(program('dies-in-a-run-and-does-not-come-back', mark()));
    await expect(model.run(IMAGE, REQUEST)).rejects.toMatchObject({ code: 'worker_crashed' });
    const [first, second] = await Promise.allSettled([
      model.run(IMAGE, REQUEST),
      model.run(IMAGE, REQUEST),
    ]);
    expect(first).toMatchObject({ reason: { code: 'model_unavailable' } });
    expect(second.status === 'rejected' && second.reason).toBe(
      first.status === 'rejected' && first.reason,
    );
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
});
