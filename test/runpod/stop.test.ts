import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Handler, JobStopped } from '../../src/runpod/handler.ts';
import { startChild } from './child.ts';
import { heldHandler, job, startRig } from './rig.ts';

/** Returns when its signal aborts, and says why it did. */
const obedient: Handler = async (_job, { signal, progress }) => {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
  progress('a last report');
  return { why: (signal.reason as JobStopped).why };
};

describe('a stop signal', () => {
  it("aborts the job's signal, and nothing is posted for it", async () => {
    const whys: unknown[] = [];
    const { platform, of, end } = await startRig({
      concurrency: 2,
      handler: async (job, context) => {
        if (job.id === 'other') return 'done';
        const output = await obedient(job, context);
        whys.push(output);
        return output;
      },
    });
    platform.queue(job('a'));
    await platform.until(() => of('taken').length === 1);
    platform.stop('nobody', 'a');
    await platform.until(() => whys.length === 1);
    platform.queue(job('other'));
    await platform.until(() => platform.results('other').length === 1);
    expect(whys).toEqual([{ why: 'stopped' }]);
    expect((await end()).counts).toMatchObject({ taken: 2, stopped: 1, delivered: 1 });
    expect(platform.requestsTo('job-done/worker1/a')).toEqual([]);
  });

  it('ends the delivery of a result', async () => {
    const { platform, of, end } = await startRig({
      prepare: (it) => {
        it.spoilResults('a', ...Array<number>(100_000).fill(503));
        it.queue(job('a'));
      },
    });
    await platform.until(() => of('delivery-retried').length > 0);
    platform.stop('a');
    await platform.until(() => of('stopped').length === 1);
    expect(of('stopped')).toMatchObject([{ during: 'delivery' }]);
    expect((await end()).counts).toMatchObject({ delivered: 0, dropped: 0 });
  });

  it('lets the same job run again when it comes again, after the stopped run has ended', async () => {
    const { handler, started, release } = heldHandler();
    const { platform, of } = await startRig({ handler, concurrency: 2 });
    platform.queue(job('a', 1));
    await platform.until(() => started.length === 1);
    platform.stop('a');
    await platform.until(() => of('stopped').length === 1);
    platform.queue(job('a', 2));
    await platform.until(() => of('taken').length === 2);
    expect(started).toEqual(['a']);
    release('a');
    await platform.until(() => platform.results('a').length === 1);
    expect(platform.results('a')).toEqual([{ output: { echo: 2 } }]);
  });

  it.each([429, 500, 404, 'html', 'garbage', 'drop-before'] as const)(
    'arrives although the platform answered %s before',
    async (fault) => {
      const { platform, of } = await startRig({
        handler: obedient,
        prepare: (it) => {
          it.spoilStopSignals(fault, fault);
          it.queue(job('a'));
        },
      });
      await platform.until(() => of('taken').length === 1);
      platform.stop('a');
      await platform.until(() => of('stopped').length === 1);
      expect(of('stop-poll-failed')).toHaveLength(2);
    },
  );
});

describe('the time that a job may take', () => {
  it('ends with an abort, and what the handler returns then is delivered', async () => {
    const { platform } = await startRig({
      handler: obedient,
      prepare: (it) => it.queue(job('a', {}, { policy: { executionTimeout: 20 } })),
    });
    await platform.until(() => platform.results('a').length === 1);
    expect(platform.results('a')).toEqual([{ output: { why: 'timed out' } }]);
  });

  it('is told the caller when the handler throws what it is aborted with', async () => {
    const { platform } = await startRig({
      handler: async (_job, { signal }) => {
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        signal.throwIfAborted();
      },
      prepare: (it) => it.queue(job('a', {}, { policy: { executionTimeout: 20 } })),
    });
    await platform.until(() => platform.results('a').length === 1);
    expect(platform.results('a')[0]?.error).toMatch(/as long as its policy allows/);
  });
});

describe('stopping', () => {
  it('asks for no more jobs, finishes and delivers what runs', async () => {
    const { handler, started, release } = heldHandler();
    const { platform, worker, ended } = await startRig({ handler });
    platform.queue(job('a'), job('b'));
    await platform.until(() => started.length === 1);
    worker.stop();
    release('a');
    expect(await ended).toMatchObject({ reason: 'stopped', counts: { taken: 1, delivered: 1 } });
    expect(platform.results('a')).toHaveLength(1);
  });

  it('runs the job that the last request for jobs still brings', async () => {
    const { platform, worker, ended } = await startRig({
      platformOptions: { holdMs: 60_000 },
      timing: { lastTakeMs: 60_000 },
    });
    await platform.until(() => platform.isHolding('job-take'));
    worker.stop();
    await sleep(100); // it does not come at once
    platform.queue(job('a'), job('b'));
    expect(await ended).toMatchObject({ counts: { taken: 1, delivered: 1 } });
  });

  it('waits for that request whatever the grace time is, and grants none to what it brings', async () => {
    const { platform, worker, ended, of } = await startRig({
      platformOptions: { holdMs: 60_000 },
      concurrency: 2,
      handler: (given, context) =>
        given.id === 'a' ? obedient(given, context) : new Promise(() => {}),
      timing: { lastTakeMs: 60_000, graceMs: 0, abortMs: 50 },
    });
    await platform.until(() => platform.isHolding('job-take'));
    worker.stop();
    await sleep(100); // grace and abort time are over
    platform.queue(job('a'), job('b'));
    expect(await ended).toMatchObject({ counts: { taken: 2, delivered: 1, abandoned: 1 } });
    expect(of('aborted').map(({ why }) => why)).toEqual(['shutdown', 'shutdown']);
  });

  it('does not wait for that request for ever', async () => {
    const { platform, worker, ended } = await startRig({
      platformOptions: { holdMs: 600_000 },
      timing: { lastTakeMs: 50 },
    });
    await platform.until(() => platform.isHolding('job-take'));
    worker.stop();
    expect(await ended).toMatchObject({ reason: 'stopped', counts: { taken: 0 } });
  });

  it('aborts what still runs after the grace time, and delivers what it returns', async () => {
    const { platform, worker, ended, of } = await startRig({
      handler: obedient,
      timing: { graceMs: 50 },
    });
    platform.queue(job('a'));
    await platform.until(() => of('taken').length === 1);
    worker.stop();
    expect(await ended).toMatchObject({ counts: { delivered: 1 } });
    expect(platform.results('a')).toEqual([{ output: { why: 'shutdown' } }]);
  });

  it('abandons a job whose handler does not obey, and posts nothing for it', async () => {
    const { platform, worker, ended, of } = await startRig({
      handler: () => new Promise(() => {}),
      concurrency: 2,
      timing: { graceMs: 50, abortMs: 50 },
    });
    platform.queue(job('a'), job('b'));
    await platform.until(() => of('taken').length === 2);
    platform.stop('b'); // and neither does this one
    await platform.until(() => of('stopped').length === 1);
    worker.stop();
    expect(await ended).toMatchObject({ counts: { abandoned: 1, stopped: 1, delivered: 0 } });
    expect(platform.requestsTo('job-done')).toEqual([]);
  });

  it('abandons a stopped job that does not obey, also when it has come again', async () => {
    const { platform, worker, ended, of } = await startRig({
      handler: () => new Promise(() => {}),
      concurrency: 2,
      timing: { graceMs: 50, abortMs: 50 },
    });
    platform.queue(job('a'));
    await platform.until(() => of('taken').length === 1);
    platform.stop('a');
    await platform.until(() => of('stopped').length === 1);
    platform.queue(job('a')); // waits for the first to return
    await platform.until(() => of('taken').length === 2);
    worker.stop();
    expect(of('stopping')).toMatchObject([{ inProgress: 2 }]);
    expect(await ended).toMatchObject({ counts: { abandoned: 1, stopped: 1, delivered: 0 } });
    expect(platform.requestsTo('job-done')).toEqual([]);
  });

  it('goes on delivering, however long the platform is away', async () => {
    const { platform, worker, ended, of } = await startRig({
      timing: { graceMs: 20, abortMs: 20 },
      prepare: (it) => {
        it.spoilResults('a', ...Array<number>(100_000).fill(503));
        it.queue(job('a'));
      },
    });
    await platform.until(() => of('delivery-retried').length > 0);
    worker.stop();
    const tried = of('delivery-retried').length;
    await platform.until(() => of('delivery-retried').length > tried + 10);
    platform.mend('a');
    expect(await ended).toMatchObject({ counts: { delivered: 1 } });
  });

  it('lets the process end by itself, with code 0', async () => {
    await using child = await startChild();
    const { platform, terminate, ended, of } = child;
    platform.queue(job('a'));
    await platform.until(() => platform.results('a').length === 1);
    terminate();
    expect(await ended).toMatchObject({ exitCode: 0 });
    expect(of('ended')).toMatchObject([{ reason: 'stopped' }]);
  });
});
