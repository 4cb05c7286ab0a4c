import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { BoundedOutbox } from '../../src/runpod/bounded-outbox.ts';
import type { WorkerEvent } from '../../src/runpod/events.ts';
import type { Timing } from '../../src/runpod/options.ts';
import type { Kept, Outbox, Owed } from '../../src/runpod/outbox.ts';
import type { StandInPlatform } from './platform.ts';
import { heldHandler, job, startRig } from './rig.ts';

/** Often enough for tests. */
const LOOKING: Partial<Timing> = { recoverMs: 20 };

/** What a former worker has left, or one that died. */
interface Left {
  readonly jobId: string;
  readonly output: unknown;
  readonly workerId?: string;
  readonly ageMs?: number;
}

/** An outbox in memory, which is there to see in which order what is done. */
class Shelf implements Outbox {
  readonly left = new Map<string, Left>();
  /** `keep a`, `read a`, `forget a`, in that order. */
  readonly calls: string[] = [];
  readonly kept = new Map<string, unknown>();
  /** Told at every call. */
  onCall: (call: string) => void = () => {};

  leave(...all: Left[]): this {
    for (const one of all) this.left.set(one.jobId, one);
    return this;
  }

  async keep({ jobId, output }: Kept): Promise<void> {
    this.#note(`keep ${jobId}`);
    this.kept.set(jobId, output);
  }

  async forget(jobId: string): Promise<void> {
    this.#note(`forget ${jobId}`);
    this.left.delete(jobId);
    this.kept.delete(jobId);
  }

  async owed(): Promise<readonly Owed[]> {
    return [...this.left.values()].map(({ jobId, output, workerId = 'gone', ageMs = 1 }) => ({
      jobId,
      workerId,
      ageMs,
      read: async () => {
        this.#note(`read ${jobId}`);
        return { output };
      },
    }));
  }

  #note(call: string): void {
    this.calls.push(call);
    this.onCall(call);
  }
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
}

const always = (status: number) => Array<number>(100_000).fill(status);

describe('a result, with an outbox', () => {
  it('is kept before it is posted for the first time, and forgotten when the platform has it', async () => {
    const outbox = new Shelf();
    const posts = (platform: StandInPlatform) => platform.requestsTo('job-done').length;
    const seen: [string, number][] = [];
    const { platform, of, end } = await startRig({
      outbox,
      prepare: (it) => {
        it.spoilResults('a', 500, 'drop-before');
        // A while in which a result that does not wait would have been posted.
        const keep = outbox.keep.bind(outbox);
        const polls = it.requestsTo('job-stop').length;
        outbox.keep = async (result) => {
          await it.until(() => it.requestsTo('job-stop').length > polls + 3);
          await keep(result);
        };
        outbox.onCall = (call) => seen.push([call, posts(it)]);
        it.queue(job('a', 1));
      },
    });
    await platform.until(() => of('delivered').length === 1);
    await end();
    expect(seen).toEqual([
      ['keep a', 0],
      ['forget a', 3],
    ]);
  });

  it.each([
    ['of a handler', async () => ({ a: 1, error: 'no' }), { a: 1, error: 'no' }],
    ['of one that throws', () => Promise.reject(new Error('boom')), { error: 'boom' }],
    [
      'of one that returns too much',
      async () => 'x'.repeat(5_000),
      { error: expect.stringContaining('has 5013 bytes') },
    ],
  ])('is kept as the output %s, or as what its caller is told', async (_what, handler, output) => {
    const outbox = new Shelf();
    const { platform, of } = await startRig({
      outbox,
      handler,
      limits: { run: 4_000 },
      prepare: (it) => {
        it.spoilResults('a', ...always(500));
        it.queue(job('a'));
      },
    });
    await platform.until(() => of('delivery-retried').length > 0);
    expect(outbox.kept.get('a')).toEqual(output);
    platform.mend('a');
  });

  it.each([
    ['refuses it for good', (it: StandInPlatform) => it.spoilResults('a', 404), 'dropped'],
    [
      'has stopped its job',
      (it: StandInPlatform) => it.spoilResults('a', ...always(503)),
      'stopped',
    ],
  ] as const)('is forgotten when the platform %s', async (_what, spoil, type) => {
    const outbox = new Shelf();
    const { platform, of, end } = await startRig({
      outbox,
      prepare: (it) => {
        spoil(it);
        it.queue(job('a'));
      },
    });
    if (type === 'stopped') {
      await platform.until(() => of('delivery-retried').length > 0);
      platform.stop('a');
    }
    await platform.until(() => of(type).length === 1);
    await end();
    expect(outbox.calls).toEqual(['keep a', 'forget a']);
  });

  it('is not in memory twice while it waits to be delivered', async () => {
    const outputs: WeakRef<object>[] = [];
    const { platform, of } = await startRig({
      outbox: { keep: async () => {}, forget: async () => {}, owed: async () => [] },
      handler: async () => {
        const output = { image: 'large' };
        outputs.push(new WeakRef(output));
        return output;
      },
      prepare: (it) => {
        it.spoilResults('a', ...always(503));
        it.queue(job('a'));
      },
    });
    await platform.until(() => of('delivery-retried').length > 2);
    collectGarbage();
    const held = outputs.map((output) => output.deref());
    platform.mend('a');
    expect(held).toEqual([undefined]);
  });

  it('is forgotten after it was kept, however long that takes', async () => {
    const outbox = new Shelf();
    const slow = Promise.withResolvers<void>();
    const keep = outbox.keep.bind(outbox);
    outbox.keep = (result) => slow.promise.then(() => keep(result));
    const { platform, of, end } = await startRig({
      outbox,
      timing: { outboxMs: 30 },
      prepare: (it) => it.queue(job('a')),
    });
    await platform.until(() => of('forget-failed').length === 1);
    expect(of('keep-failed')).toMatchObject([{ id: 'a', error: 'Error: no answer in 0.03 s' }]);
    expect((await end()).counts).toMatchObject({ delivered: 1 });
    slow.resolve();
    await expect.poll(() => outbox.calls).toEqual(['keep a', 'forget a']);
  });

  it('is delivered all the same when it cannot be kept, nor forgotten, nor what is owed be found', async () => {
    const fails = () => Promise.reject(new Error('read-only file system'));
    const { platform, of, end } = await startRig({
      outbox: { keep: fails, forget: fails, owed: fails },
      timing: LOOKING,
      prepare: (it) => it.queue(job('a'), job('b')),
    });
    await platform.until(() => platform.accepted.size === 2);
    await platform.until(() => platform.requestsTo('job-stop').length > 5); // it has looked again
    expect((await end()).counts).toMatchObject({ delivered: 2 });
    expect([of('keep-failed').length, of('forget-failed').length]).toEqual([2, 2]);
    expect(of('recover-failed')).toEqual([
      { type: 'recover-failed', id: null, error: 'Error: read-only file system' },
    ]);
  });

  it('is forgotten in the end, also when that was refused because too many calls hung', async () => {
    const outbox = new Shelf().leave({ jobId: 'first', output: 1 });
    const hangs = Promise.withResolvers<void>();
    outbox.keep = () => hangs.promise;
    const told: WorkerEvent[] = [];
    const bounded = new BoundedOutbox(outbox, 20, (event) => told.push(event));
    await Promise.all(Array.from({ length: 16 }, (_, n) => bounded.keep(`job-${n}`, 1)));
    await bounded.forget('first');
    await bounded.forget('again');
    expect(told.slice(16)).toMatchObject([
      { type: 'forget-failed', id: 'first', error: 'Error: 16 calls before it hang' },
      { type: 'forget-failed', id: 'again' },
    ]);
    expect(outbox.calls).toEqual([]);
    // What is kept anew meanwhile is not to be forgotten.
    await bounded.keep('again', 2);
    hangs.resolve();
    await expect.poll(() => outbox.calls).toEqual(['forget first']);
    expect(told).toHaveLength(19);
  });

  it('is not held in memory by calls that hang', async () => {
    const hanging: Promise<void>[] = [];
    const hangs = () => {
      const call = new Promise<void>(() => {});
      hanging.push(call);
      return call;
    };
    const outbox = { keep: hangs, forget: hangs, owed: async () => [] };
    const bounded = new BoundedOutbox(outbox, 20, () => {});
    const refs: WeakRef<object>[] = [];
    const keep = (id: string) => {
      const output = { image: 'large' };
      refs.push(new WeakRef(output));
      return bounded.keep(id, output);
    };
    await Promise.all(['a', 'b', 'c'].map(keep));
    collectGarbage();
    expect([hanging.length, refs.map((ref) => ref.deref())]).toEqual([3, Array(3).fill(undefined)]);
  });

  it('waits for an outbox that hangs only until it is clear that it does', async () => {
    const hangs = () => new Promise<never>(() => {});
    const ids = Array.from({ length: 40 }, (_, i) => `job-${i}`);
    const { platform, of, end } = await startRig({
      outbox: { keep: hangs, forget: hangs, owed: async () => [] },
      timing: { outboxMs: 20 },
      prepare: (it) => it.queue(...ids.map((id) => job(id))),
    });
    await platform.until(() => platform.accepted.size === 40);
    expect((await end()).counts).toMatchObject({ delivered: 40 });
    expect(of('keep-failed').at(-1)?.error).toMatch(/\d+ calls before it hang/);
  });
});

describe('a result of a former worker', () => {
  it('is delivered in its name, before any job is taken', async () => {
    const outbox = new Shelf().leave({ jobId: 'a', output: { n: 1 }, ageMs: 5_000 });
    const { platform, of, end } = await startRig({ outbox, prepare: (it) => it.queue(job('b')) });
    await platform.until(() => platform.accepted.size === 2);
    expect(platform.results('a')).toEqual([{ output: { n: 1 } }]);
    expect(platform.requestsTo('job-done/gone/a')).toMatchObject([
      { query: 'gpu=H200&isStream=false', status: 200 },
    ]);
    const { counts } = await end();
    expect(of('recovered')).toMatchObject([{ id: 'a', worker: 'gone', ageMs: 5_000 }]);
    // What it replaces may have arrived.
    expect(counts).toMatchObject({ taken: 1, recovered: 1, delivered: 2, repeats: 1, expired: 0 });
    expect(outbox.left.size).toBe(0);
  });

  it('is not run when the platform hands its job out again, but delivered', async () => {
    const { handler, started } = heldHandler();
    const outbox = new Shelf().leave({ jobId: 'a', output: 'made before' });
    const { platform, of } = await startRig({
      outbox,
      handler,
      prepare: (it) => {
        it.spoilResults('a', ...always(503));
        it.queue(job('a'));
      },
    });
    await platform.until(() => of('duplicate').length === 1);
    platform.mend('a');
    await platform.until(() => platform.results('a').length === 1);
    expect([platform.results('a'), started]).toEqual([[{ output: 'made before' }], []]);
  });

  it('is in the pings while it is being delivered', async () => {
    const outbox = new Shelf().leave({ jobId: 'a', output: 1 });
    const { platform } = await startRig({
      outbox,
      pingMs: 10,
      prepare: (it) => it.spoilResults('a', ...always(503)),
    });
    await platform.until(() =>
      platform.requestsTo('ping').some(({ query }) => /job_id=a/.test(query)),
    );
    platform.mend('a');
    await platform.until(() => platform.results('a').length === 1);
  });

  it('is not posted when this worker has delivered the job itself since it was made', async () => {
    const outbox = new Shelf();
    const { platform, of, end } = await startRig({ outbox, timing: LOOKING });
    platform.queue(job('a'), job('b'));
    await platform.until(() => of('delivered').length === 2);
    outbox.leave(
      { jobId: 'a', output: { by: 'the one before' }, ageMs: 60_000 },
      { jobId: 'b', output: { by: 'one after it' }, ageMs: 0 },
    );
    await platform.until(() => of('delivered').length === 3 && of('superseded').length === 1);
    await end();
    expect(platform.results('a')).toEqual([{ output: { echo: {} } }]);
    expect(platform.results('b').at(-1)).toEqual({ output: { by: 'one after it' } });
    expect(outbox.left.size).toBe(0);
  });

  it('is found also when it was left later', async () => {
    const outbox = new Shelf();
    const { platform, of } = await startRig({ outbox, timing: LOOKING });
    await platform.until(() => platform.requestsTo('job-stop').length > 1);
    outbox.leave({ jobId: 'a', output: 1 });
    await platform.until(() => of('delivered').length === 1);
    expect(platform.results('a')).toHaveLength(1);
  });

  it('expires when the platform would take it no more, and is forgotten', async () => {
    const outbox = new Shelf().leave(
      { jobId: 'old', output: 1, ageMs: 30 * 60_000 },
      { jobId: 'young', output: 2, ageMs: 29 * 60_000 },
    );
    const { platform, of, end } = await startRig({ outbox });
    await platform.until(() => platform.accepted.size === 1);
    expect((await end()).counts).toMatchObject({ recovered: 1, expired: 1, delivered: 1 });
    expect(of('expired')).toEqual([
      { type: 'expired', id: 'old', worker: 'gone', ageMs: 30 * 60_000, mayHaveArrived: true },
    ]);
    expect([platform.results('old'), outbox.left.size]).toEqual([[], 0]);
  });

  it('is offered only for as long as is left of the time', async () => {
    const outbox = new Shelf().leave({ jobId: 'a', output: 1, ageMs: 30 * 60_000 - 200 });
    const { platform, of } = await startRig({
      outbox,
      prepare: (it) => it.spoilResults('a', ...always(503)),
    });
    await platform.until(() => of('dropped').length === 1);
    expect(of('dropped')).toMatchObject([{ id: 'a', mayHaveArrived: true }]);
    await expect.poll(() => outbox.left.size).toBe(0);
  });

  it('is forgotten when the platform has stopped its job', async () => {
    const outbox = new Shelf().leave({ jobId: 'a', output: 1 });
    const { platform, of } = await startRig({
      outbox,
      prepare: (it) => it.spoilResults('a', ...always(503)),
    });
    await platform.until(() => of('delivery-retried').length > 0);
    platform.stop('a');
    await platform.until(() => of('stopped').length === 1);
    expect(of('stopped')).toMatchObject([{ during: 'delivery' }]);
    await expect.poll(() => outbox.left.size).toBe(0);
  });

  it('is forgotten when its job was handed out again, and stopped', async () => {
    const outbox = new Shelf();
    const { handler, started, release } = heldHandler();
    const { platform, of, end } = await startRig({
      outbox,
      handler,
      timing: LOOKING,
      prepare: (it) => it.queue(job('a')),
    });
    await platform.until(() => started.length === 1);
    outbox.leave({ jobId: 'a', output: 'of a worker that is gone now' });
    platform.stop('a');
    await platform.until(() => of('stopped').length === 1);
    release('a');
    await expect.poll(() => outbox.calls).toEqual(['forget a']);
    await end();
    expect([outbox.left.size, platform.requestsTo('job-done')]).toEqual([0, []]);
  });

  it('is tried again when it cannot be read', async () => {
    const outbox = new Shelf().leave({ jobId: 'a', output: 1 });
    const owed = outbox.owed.bind(outbox);
    let tries = 0;
    outbox.owed = async () =>
      (await owed()).map((one) => ({
        ...one,
        read: async (most) => {
          tries += 1;
          if (tries < 3) throw new Error('EIO');
          return await one.read(most);
        },
      }));
    const { platform, of } = await startRig({ outbox, timing: LOOKING });
    await platform.until(() => of('delivered').length === 1);
    expect(of('recover-failed')).toMatchObject([{ id: 'a' }, { id: 'a' }]);
    expect(of('recovered')).toHaveLength(1);
  });

  it.each(['\ud800', '.', '..', ''])(
    "is in nobody else's way when nothing can be posted for its id: %j",
    async (jobId) => {
      const outbox = new Shelf().leave({ jobId, output: 1 }, { jobId: 'good', output: 2 });
      const { platform, of, end } = await startRig({ outbox, prepare: (it) => it.queue(job('b')) });
      await platform.until(() => platform.accepted.size === 2);
      expect((await end()).counts).toMatchObject({ recovered: 1, delivered: 2 });
      expect(of('recover-failed')).toMatchObject([{ id: jobId }]);
    },
  );

  it('is left to others when it is there no more', async () => {
    const outbox = new Shelf().leave({ jobId: 'a', output: 1 });
    const owed = outbox.owed.bind(outbox);
    outbox.owed = async () => (await owed()).map((one) => ({ ...one, read: async () => null }));
    const { platform, of, end } = await startRig({ outbox, prepare: (it) => it.queue(job('b')) });
    await platform.until(() => of('delivered').length === 1);
    expect((await end()).counts).toMatchObject({ recovered: 0, delivered: 1 });
    expect(platform.requestsTo('job-done/gone')).toEqual([]);
  });

  it('is read when its turn has come: while others wait for the platform, large ones stay where they are', async () => {
    const large = 'x'.repeat(1_000);
    const ids = ['a', 'b', 'c', 'd'];
    const outbox = new Shelf().leave(...ids.map((jobId) => ({ jobId, output: large })));
    const { platform, of, worker, ended } = await startRig({
      outbox,
      maxUndeliveredBytes: 1_500,
      prepare: (it) => {
        for (const id of ids) it.spoilResults(id, ...always(503));
      },
    });
    await platform.until(() => of('delivery-retried').length > 5);
    const reads = () => outbox.calls.filter((call) => call.startsWith('read'));
    expect(reads()).toEqual(['read a']);
    platform.mend('a');
    await platform.until(() => reads().length === 2);
    // At the end those whose turn has not come are left to whoever comes next.
    worker.stop();
    platform.mend('b');
    expect(await ended).toMatchObject({ counts: { recovered: 2, delivered: 2 } });
    expect([...outbox.left.keys()]).toEqual(['c', 'd']);
  });

  it('is delivered also when to look for it takes longer than a look is waited for', async () => {
    const outbox = new Shelf().leave({ jobId: 'a', output: 1 });
    const owed = outbox.owed.bind(outbox);
    const { platform, of } = await startRig({
      outbox,
      timing: { ...LOOKING, outboxMs: 20 },
      prepare: (it) => {
        // Every look answers when nobody waits for it any more.
        outbox.owed = async () => {
          const polls = it.requestsTo('job-stop').length;
          await it.until(() => it.requestsTo('job-stop').length > polls + 5);
          return await owed();
        };
      },
    });
    await platform.until(() => of('delivered').length === 1);
    expect(platform.results('a')).toHaveLength(1);
  });

  it('does not hold up jobs when the outbox hangs', async () => {
    const hangs = () => new Promise<never>(() => {});
    const { platform, of, end } = await startRig({
      outbox: { keep: async () => {}, forget: async () => {}, owed: hangs },
      timing: { outboxMs: 20 },
      prepare: (it) => it.queue(job('a')),
    });
    await platform.until(() => platform.accepted.size === 1);
    expect(of('recover-failed')).toMatchObject([{ id: null }]);
    await end();
  });
});
