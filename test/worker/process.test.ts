import { execaSync } from 'execa';
import { afterEach, describe, expect, it } from 'vitest';
import { LotusError } from '../../src/errors.ts';
import { type Patience, WorkerProcess } from '../../src/worker/process.ts';
import { IMPATIENT, LOAD, LONG, program, RUN, recordingLog } from './programs.ts';

const started: WorkerProcess[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((worker) => worker.stop()));
});

async function start(name: string, patience: Partial<Patience> = {}) {
  const { log, records } = recordingLog();
  const worker = await WorkerProcess.start(program(name), log, patience);
  started.push(worker);
  return { worker, records };
}

async function startLoaded(name: string, patience: Partial<Patience> = {}) {
  const { worker, records } = await start(name, patience);
  await worker.load(LOAD, LONG);
  return { worker, records };
}

/** The LotusError that a promise is rejected with. */
async function errorOf(promise: Promise<unknown>): Promise<LotusError> {
  const error = await promise.then(
    () => expect.unreachable('it was not rejected'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(LotusError);
  return error as LotusError;
}

/** A zombie, whom only its parent can bury, counts as dead. */
function isAlive(pid: number): boolean {
  const { stdout } = execaSync('ps', ['-o', 'stat=', '-p', String(pid)], { reject: false });
  return stdout !== '' && !stdout.startsWith('Z');
}

describe('a worker process that behaves', () => {
  it('goes from starting to ready, runs, and stops when asked', async () => {
    const { worker } = await start('well-behaved');
    expect(worker.state).toBe('starting');
    await worker.load(LOAD, LONG);
    expect(worker.state).toBe('ready');
    const running = worker.run(RUN, LONG);
    expect(worker.state).toBe('running');
    expect(await running).toMatchObject({ width: 1, height: 1, min: 0, max: 1 });
    expect(worker.state).toBe('ready');
    await worker.stop();
    expect(worker.state).toBe('stopped');
  });

  it('answers a ping', async () => {
    const { worker } = await startLoaded('well-behaved');
    await expect(worker.ping(60_000)).resolves.toBeUndefined();
  });

  it('can be stopped twice, and before it has loaded anything', async () => {
    const { worker } = await start('well-behaved');
    await Promise.all([worker.stop(), worker.stop()]);
    await worker.stop();
    expect(worker.state).toBe('stopped');
  });

  it('takes no run before its model is loaded, and none after its end', async () => {
    const { worker } = await start('well-behaved');
    expect((await errorOf(worker.run(RUN, LONG))).code).toBe('model_unavailable');
    await worker.stop();
    expect((await errorOf(worker.run(RUN, LONG))).code).toBe('model_unavailable');
  });

  it('does not begin a run that is cancelled already', async () => {
    const { worker } = await startLoaded('dies-in-a-run');
    const error = await errorOf(worker.run(RUN, { ...LONG, signal: AbortSignal.abort() }));
    expect(error.code).toBe('cancelled');
    expect(worker.state).toBe('ready');
  });
});

describe('a worker process that does not start', () => {
  it('is reported when there is no such program', async () => {
    const { log } = recordingLog();
    const command = { file: '/no/such/python', args: [], env: {} };
    const error = await errorOf(WorkerProcess.start(command, log));
    expect(error.code).toBe('model_unavailable');
    expect(error.message).toContain('/no/such/python');
  });

  it('is reported with its exit code, its last words in the cause', async () => {
    const error = await errorOf(start('dies-at-start'));
    expect(error.code).toBe('model_unavailable');
    expect(error.message).toContain('exit code 7');
    expect(String((error.cause as Error).cause)).toContain("No module named 'torch'");
  });

  it('is ended when it says nothing', async () => {
    const error = await errorOf(start('says-nothing', { ...IMPATIENT, hello: 300 }));
    expect(error.message).toContain('it said nothing in 0.3 s');
  });

  it('is ended when nobody wants it any more', async () => {
    const { log } = recordingLog();
    const options = { ...IMPATIENT, signal: AbortSignal.timeout(50) };
    const error = await errorOf(WorkerProcess.start(program('says-nothing'), log, options));
    expect(error.code).toBe('cancelled');
  });

  it('is ended when it says something else than the protocol', async () => {
    const error = await errorOf(start('prints-garbage'));
    expect(error.message).toContain('Loading pipeline components');
  });

  it('is ended when it speaks another version of the protocol', async () => {
    const error = await errorOf(start('speaks-another-version'));
    expect(error.message).toContain('it speaks version 3 of the protocol, not 2');
  });
});

describe('a worker process that does not load', () => {
  it('is reported when it dies, with its last words', async () => {
    const { worker } = await start('dies-at-load');
    const error = await errorOf(worker.load(LOAD, LONG));
    expect(error.code).toBe('model_unavailable');
    expect(error.message).toContain('exit code 134');
    expect(String(((error.cause as Error).cause as Error).message)).toContain('bad_alloc');
    expect(worker.state).toBe('crashed');
  });

  it('is stopped when it has no such model', async () => {
    const { worker } = await start('fails-to-load');
    const error = await errorOf(worker.load(LOAD, LONG));
    expect(error.code).toBe('model_unavailable');
    expect(error.message).toBe('it was model_not_found');
    expect(worker.state).toBe('stopped');
  });
});

describe('a worker process that fails in a run', () => {
  it('is reported when it dies', async () => {
    const { worker } = await startLoaded('dies-in-a-run');
    const error = await errorOf(worker.run(RUN, LONG));
    expect(error.code).toBe('worker_crashed');
    expect(error.message).toContain('SIGKILL');
    expect(error.retryable).toBe(true);
    expect(worker.isUsable).toBe(false);
  });

  it('is reported when it breaks off in the middle of a line', async () => {
    const { worker } = await startLoaded('says-half-a-line');
    const error = await errorOf(worker.run(RUN, LONG));
    expect(error.code).toBe('worker_crashed');
    expect((error.cause as Error).message).toContain('in the middle of a line');
  });

  it.each([
    ['prints garbage', 'prints-garbage-in-a-run', 'not a line of JSON'],
    ['says hello twice', 'says-hello-twice', 'a second hello'],
    ['answers what nobody asked', 'answers-what-nobody-asked', 'a reply to nothing we asked'],
    ['says an endless line', 'says-an-endless-line', 'a line is longer than 1048576 bytes'],
  ])('is ended when it %s', async (_what, name, message) => {
    const { worker } = await startLoaded(name);
    const error = await errorOf(worker.run(RUN, LONG));
    expect(error.code).toBe('worker_crashed');
    expect(error.message).toContain(message);
    await worker.stop();
    expect(worker.state).toBe('crashed');
  });

  it('is ended when it says that it is not healthy', async () => {
    const { worker } = await startLoaded('fails-and-is-unhealthy');
    expect((await errorOf(worker.run(RUN, LONG))).code).toBe('internal');
    expect(worker.isUsable).toBe(false);
    await worker.stop();
    expect(worker.state).toBe('crashed');
  });

  it('takes the next run after an error that leaves it healthy', async () => {
    const { worker } = await startLoaded('runs-out-of-memory');
    expect((await errorOf(worker.run(RUN, LONG))).code).toBe('out_of_memory');
    expect(worker.state).toBe('ready');
    expect((await errorOf(worker.run(RUN, LONG))).code).toBe('out_of_memory');
  });

  it('takes its children with it', async () => {
    const { worker, records } = await startLoaded('leaves-a-child-behind');
    await errorOf(worker.run(RUN, LONG));
    await worker.stop(); // comes to an end only when the pipes are closed
    const child = Number(records.find((record) => record.logger === 'child')?.msg);
    expect(child).toBeGreaterThan(0);
    expect(isAlive(child)).toBe(false);
  });
});

describe('a worker process that leaves a daemon behind', () => {
  it('is seen to have died all the same, though the daemon holds its pipes open', async () => {
    const { worker, records } = await startLoaded('leaves-a-daemon-behind');
    const error = await errorOf(worker.run(RUN, LONG));
    expect(error.code).toBe('worker_crashed');
    await worker.stop();
    const daemon = Number(records.find((record) => record.logger === 'daemon')?.msg);
    expect(isAlive(daemon)).toBe(true); // so it was not its end that we have waited for
    process.kill(daemon);
  });
});

describe('a worker process that takes too long', () => {
  it('stays when it gives up the run in time', async () => {
    const { worker } = await startLoaded('answers-a-cancel');
    const error = await errorOf(worker.run(RUN, { timeoutMs: 20 }));
    expect(error.code).toBe('timed_out');
    expect(error.message).toBe('The model did not answer in 0.02 s.');
    expect(worker.state).toBe('ready');
  });

  it('gives up the run when nobody wants it any more', async () => {
    const { worker } = await startLoaded('answers-a-cancel');
    const controller = new AbortController();
    const error = errorOf(worker.run(RUN, { ...LONG, signal: controller.signal }));
    controller.abort();
    expect((await error).code).toBe('cancelled');
    expect(worker.state).toBe('ready');
  });

  it('is killed when it never answers, whatever it does with SIGTERM', async () => {
    const { worker } = await startLoaded('never-answers', IMPATIENT);
    const pid = worker.pid ?? 0;
    const error = await errorOf(worker.run(RUN, { timeoutMs: 20 }));
    expect(error.code).toBe('timed_out');
    await worker.stop();
    expect(worker.state).toBe('crashed');
    expect(isAlive(pid)).toBe(false);
  });

  it('is killed when it does not answer a ping', async () => {
    const { worker } = await startLoaded('never-answers', IMPATIENT);
    const error = await errorOf(worker.ping(20));
    expect(error.code).toBe('worker_crashed');
    expect(error.message).toContain('no sign of life in 0.02 s');
    await worker.stop();
    expect(worker.state).toBe('crashed');
  });

  it('is killed when it does not leave', async () => {
    const { worker } = await startLoaded('never-answers', IMPATIENT);
    await worker.stop();
    expect(worker.state).toBe('stopped');
    expect(isAlive(worker.pid ?? 0)).toBe(false);
  });
});

describe('standard error', () => {
  it('does not stop a run, however much there is of it', async () => {
    const { worker, records } = await startLoaded('floods-stderr');
    await worker.run(RUN, LONG);
    await worker.stop();
    expect(records.filter((record) => record.source === 'python').at(-1)?.msg).toBe(
      'the last line',
    );
  });
});
