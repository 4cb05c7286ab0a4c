import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { heldHandler, job, startRig } from './rig.ts';

describe('taking jobs', () => {
  it('asks for one by the single path, and for several by the batch path', async () => {
    const one = await startRig();
    await one.platform.until(() => one.platform.requestsTo('job-take').length > 0);
    const [first] = one.platform.requestsTo('job-take');
    expect(first).toMatchObject({
      path: '/v2/ep1/job-take/worker1',
      query: 'gpu=H200&job_in_progress=0',
    });
    const three = await startRig({ concurrency: 3 });
    await three.platform.until(() => three.platform.requestsTo('job-take').length > 0);
    expect(three.platform.requestsTo('job-take')[0]).toMatchObject({
      path: '/v2/ep1/job-take-batch/worker1',
      query: 'gpu=H200&batch_size=3&job_in_progress=0',
    });
  });

  it('asks for as many as it has room for, and says that it is at work', async () => {
    const { handler, started, release } = heldHandler();
    const { platform } = await startRig({ handler, concurrency: 3 });
    platform.queue(job('a'), job('b'));
    await platform.until(() => started.length === 2);
    await platform.until(() => platform.requestsTo('job-take').length > 1);
    expect(platform.requestsTo('job-take').at(-1)?.query).toMatch(/job_in_progress=1$/);
    expect(platform.requestsTo('job-take').at(-1)?.path).toBe('/v2/ep1/job-take/worker1');
    release('a');
    release('b');
    await platform.until(() => platform.accepted.size === 2);
  });

  it('does not ask while it has no room, and asks at once when it has', async () => {
    const { handler, started, release } = heldHandler();
    const { platform } = await startRig({ handler });
    platform.queue(job('a'), job('b'));
    await platform.until(() => started.length === 1);
    const asked = platform.requestsTo('job-take').length;
    await platform.until(() => platform.requestsTo('job-stop').length > 2); // for a while
    expect(platform.requestsTo('job-take')).toHaveLength(asked);
    release('a');
    await platform.until(() => platform.requestsTo('job-take').length > asked);
    expect(platform.requestsTo('job-take')[asked]?.note).toBe('b');
    release('b');
  });

  it('asks for nothing while it is paused, and again when it is resumed', async () => {
    const { platform, worker } = await startRig();
    await platform.until(() => platform.requestsTo('job-take').length > 0);
    worker.pause();
    await platform.until(() => !platform.isHolding('job-take')); // the one that was open
    const asked = platform.requestsTo('job-take').length;
    platform.queue(job('a'));
    const polls = platform.requestsTo('job-stop').length;
    await platform.until(() => platform.requestsTo('job-stop').length > polls + 2); // for a while
    expect(platform.requestsTo('job-take')).toHaveLength(asked);
    worker.resume();
    await platform.until(() => platform.results('a').length === 1);
  });

  it('does not wait for a result to be delivered before it takes the next job', async () => {
    const { platform } = await startRig({
      prepare: (it) => {
        it.spoilResults('a', ...Array<number>(200).fill(503));
        it.queue(job('a'), job('b'));
      },
    });
    await platform.until(() => platform.results('b').length === 1);
    expect(platform.results('a')).toHaveLength(0);
    await platform.until(() => platform.results('a').length === 1);
  });

  it.each([204, 400, 429, 500, 'html', 'garbage', 'drop-before'] as const)(
    'goes on after %s',
    async (fault) => {
      const { platform, of } = await startRig({
        prepare: (it) => {
          it.spoilTakes(fault, fault);
          it.queue(job('a'));
        },
      });
      await platform.until(() => platform.results('a').length === 1);
      expect(of('take-failed')).toHaveLength(fault === 204 || fault === 400 ? 0 : 2);
    },
  );

  it('waits after a 429 as long as it is asked to', async () => {
    const { platform, of } = await startRig({
      prepare: (it) => {
        it.spoilTakes({ status: 429, headers: { 'retry-after': '1' } });
        it.queue(job('a'));
      },
    });
    await platform.until(() => platform.results('a').length === 1);
    expect(of('take-failed')).toMatchObject([{ waitMs: 1000 }]);
  });

  it('waits longer and longer while the platform fails', async () => {
    const { platform, of } = await startRig({
      timing: { takePace: { firstMs: 4, maxMs: 64 } },
      prepare: (it) => {
        it.spoilTakes(...Array<number>(8).fill(500));
        it.queue(job('a'));
      },
    });
    await platform.until(() => platform.results('a').length === 1);
    const waits = of('take-failed').map(({ waitMs }) => waitMs);
    expect(waits[0]).toBeLessThanOrEqual(4);
    expect(waits.at(-1)).toBeGreaterThanOrEqual(32);
    expect(waits.at(-1)).toBeLessThanOrEqual(64);
  });

  it('asks again at once when the platform holds a request for longer than it is waited for', async () => {
    const { platform, of } = await startRig({
      platformOptions: { holdMs: 600_000 },
      // A wait after a time-out, as after an empty answer or an error, would not end.
      timing: {
        takeMs: 30,
        takePace: { firstMs: 1e9, maxMs: 1e9 },
        emptyPace: { firstMs: 1e9, maxMs: 1e9 },
      },
    });
    const gone = (part: string) => platform.requestsTo(part).filter((it) => it.status === 'gone');
    await platform.until(() => gone('job-take').length > 2 && gone('job-stop').length > 2);
    expect([...of('take-failed'), ...of('stop-poll-failed')]).toEqual([]);
  });

  it('runs all it is given, also when that is more than it has asked for', async () => {
    let atOnce = 0;
    let most = 0;
    const { platform, end } = await startRig({
      concurrency: 2,
      handler: async () => {
        atOnce += 1;
        most = Math.max(most, atOnce);
        await new Promise((resolve) => setTimeout(resolve, 5));
        atOnce -= 1;
      },
    });
    platform.queue(['a', 'b', 'c', 'd', 'e'].map((id) => job(id)));
    await platform.until(() => platform.accepted.size === 5);
    expect(most).toBe(2);
    expect((await end()).counts).toMatchObject({ taken: 5, delivered: 5 });
  });

  it('answers a job without input, reports one without a usable id, and runs the others', async () => {
    const { platform, of, end } = await startRig({ concurrency: 4 });
    platform.queue([
      { id: 'no-input' },
      { input: {} },
      'text',
      null,
      { id: 7, input: 1 },
      job('\ud800x'), // half a surrogate pair has no place in a URL
      job('..'), // which is a way up in one
      job('.'),
      job('ok'),
    ]);
    await platform.until(() => platform.accepted.size === 2);
    expect(platform.results('no-input')).toEqual([{ error: 'The job has no input.' }]);
    expect(platform.results('ok')).toEqual([{ output: { echo: {} } }]);
    expect(of('malformed').map(({ id }) => id)).toEqual(['no-input', ...Array(7).fill(null)]);
    expect((await end()).counts).toMatchObject({ taken: 1, malformed: 8, delivered: 2 });
  });

  it('ignores a second copy of a job that runs, or is being delivered', async () => {
    const { handler, started, release } = heldHandler();
    const { platform, of } = await startRig({
      handler,
      concurrency: 2,
      prepare: (it) => it.spoilResults('a', ...Array<number>(50).fill(503)),
    });
    platform.queue(job('a'));
    await platform.until(() => started.length === 1);
    platform.queue(job('a'));
    await platform.until(() => of('duplicate').length === 1);
    release('a');
    await platform.until(() => of('finished').length === 1);
    platform.queue(job('a'));
    await platform.until(() => of('duplicate').length === 2);
    await platform.until(() => platform.results('a').length === 1);
    expect(started).toEqual(['a']);
  });

  it('runs a job again that comes again after its end', async () => {
    const { platform, of } = await startRig();
    platform.queue(job('a', 1));
    await platform.until(() => of('delivered').length === 1);
    platform.queue(job('a', 2));
    await platform.until(() => platform.results('a').length === 2);
    expect(platform.results('a').map(({ output }) => output)).toEqual([{ echo: 1 }, { echo: 2 }]);
  });

  it('passes the job on as it came', async () => {
    const given = job('a', [1, { é: '\u2028' }], {
      webhook: 'https://x',
      http: { headers: { A: 'b' } },
    });
    const { platform } = await startRig({ handler: async (got) => ({ got }) });
    platform.queue(given);
    await platform.until(() => platform.accepted.size === 1);
    expect(platform.results('a')).toEqual([{ output: { got: given } }]);
  });

  it.each([
    ['bytes', { maxUndeliveredBytes: 100 }],
    ['results', { maxUndelivered: 0 }],
  ])('takes nothing while too many %s wait to be delivered', async (_what, most) => {
    const { platform, of } = await startRig({
      ...most,
      handler: async () => 'x'.repeat(100),
      prepare: (it) => {
        it.spoilResults('a', ...Array<number>(20).fill(503));
        it.queue(job('a'), job('b'));
      },
    });
    await platform.until(() => platform.results('b').length === 1);
    expect(of('backed-up')[0]).toMatchObject({ results: 1, bytes: 113 });
    const order = platform.requests.map(({ path, status, note }) => `${path} ${status} ${note}`);
    const delivered = order.findIndex((line) => line.startsWith('/v2/ep1/job-done/worker1/a 200'));
    expect(order.findIndex((line) => line.endsWith('200 b'))).toBeGreaterThan(delivered);
  });

  it('keeps no input of a job whose result waits to be delivered', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const inputs: WeakRef<object>[] = [];
    const { platform, of } = await startRig({
      handler: async ({ input }) => {
        inputs.push(new WeakRef(input as object));
      },
      prepare: (it) => {
        it.spoilResults('a', ...Array<number>(100_000).fill(503));
        it.queue(job('a', { image: 'large' }));
      },
    });
    await platform.until(() => of('delivery-retried').length > 2);
    collectGarbage();
    const kept = inputs.map((input) => input.deref());
    platform.mend('a');
    expect(kept).toEqual([undefined]);
  });
});
