import { describe, expect, it } from 'vitest';
import type { Handler } from '../../src/runpod/handler.ts';
import type { Fault, RecordedRequest } from './platform.ts';
import { heldHandler, job, startRig } from './rig.ts';

/** What is posted for a handler's output. */
async function bodyOf(handler: Handler): Promise<unknown> {
  const { platform, end } = await startRig({ handler, prepare: (it) => it.queue(job('a')) });
  await platform.until(() => platform.accepted.size === 1);
  await end();
  return platform.results('a')[0];
}

describe('the body of a result', () => {
  const circle: { self?: unknown } = {};
  circle.self = circle;

  it.each([
    ['an object', { a: [1, 'é'] }, { output: { a: [1, 'é'] } }],
    ['a list', [1], { output: [1] }],
    ['a text', 'x', { output: 'x' }],
    ['false', false, { output: false }],
    ['nothing', undefined, { output: null }],
    ['an empty object', {}, {}],
    [
      'an error and more',
      { error: 'Unauthorized', status: 401 },
      { output: { status: 401 }, error: 'Unauthorized' },
    ],
    ['an error alone', { error: 'no' }, { error: 'no' }],
    ['an error that is no text', { error: { code: 7 } }, { error: '{"code":7}' }],
    ['an error that is none', { error: null, a: 1 }, { output: { a: 1 } }],
  ])('for %s', async (_name, output, body) => {
    expect(await bodyOf(async () => output)).toEqual(body);
  });

  it('is the message of what the handler throws', async () => {
    expect(await bodyOf(() => Promise.reject(new Error('boom')))).toEqual({ error: 'boom' });
    expect(
      await bodyOf(() => {
        throw 'not even an error';
      }),
    ).toEqual({ error: 'not even an error' });
  });

  it('is an error also when what the handler throws has no words', async () => {
    const body = await bodyOf(() => Promise.reject(Object.create(null)));
    expect(body).toEqual({ error: 'The job failed.' });
  });

  it('is an error when the output cannot be written as JSON', async () => {
    expect(await bodyOf(async () => circle)).toMatchObject({ error: /circular/i });
    expect(await bodyOf(async () => ({ n: 1n }))).toMatchObject({ error: /BigInt/ });
  });

  it('asks for a fresh worker when the job does, and takes no more jobs then', async () => {
    const { platform, ended } = await startRig({
      handler: async () => ({ a: 1, refresh_worker: true }),
      prepare: (it) => it.queue(job('a')),
    });
    expect(await ended).toMatchObject({ reason: 'refresh', counts: { delivered: 1 } });
    expect(platform.results('a')).toEqual([{ output: { a: 1 }, stopPod: true }]);
  });
});

describe('the size of a result', () => {
  const limits = { run: 3_000, runsync: 6_000 };

  it('is known to the handler: what it is told fits', async () => {
    const { platform } = await startRig({
      limits,
      handler: async (_job, { maxOutputBytes }) => 'x'.repeat(maxOutputBytes - 2), // in quotes
      prepare: (it) => it.queue(job('a'), job('sync-a')),
    });
    await platform.until(() => platform.accepted.size === 2);
    expect(String(platform.results('a')[0]?.output)).toHaveLength(3_000 - 1_024 - 2);
    expect(String(platform.results('sync-a')[0]?.output)).toHaveLength(6_000 - 1_024 - 2);
  });

  it('is counted in bytes, and an error says so when it is too large', async () => {
    const { platform, of } = await startRig({
      limits,
      handler: async () => 'é'.repeat(2_000),
      prepare: (it) => it.queue(job('a')),
    });
    await platform.until(() => platform.accepted.size === 1);
    expect(platform.results('a')[0]?.error).toMatch(/has 4013 bytes, the platform takes 3000/);
    expect(of('oversized')).toMatchObject([{ bytes: 4_013, limit: 3_000 }]);
  });

  it('is told the caller when the platform alone finds it too large', async () => {
    const { platform, end } = await startRig({
      prepare: (it) => {
        it.spoilResults('a', 413);
        it.queue(job('a'));
      },
    });
    await platform.until(() => platform.accepted.size === 1);
    expect(platform.results('a')[0]?.error).toMatch(/more than the platform takes/);
    expect((await end()).counts).toMatchObject({ dropped: 1 });
  });
});

describe('a result that the platform finds too large', () => {
  it('is said to be lost without a word to its caller when the error is refused too', async () => {
    const { of, counts, posts } = await deliverThrough(413, 400);
    expect([posts.length, counts.dropped]).toEqual([2, 1]);
    expect(of('dropped')[0]?.error).toMatch(
      /answered 413.*nor can its caller be told.*answered 400/,
    );
  });
});

/** The posts for job `a` when the platform answers it so. */
async function deliverThrough(...faults: Fault[]) {
  const rig = await startRig({
    platformOptions: { slowMs: 50 },
    prepare: (it) => {
      it.spoilResults('a', ...faults);
      it.queue(job('a', 'é'));
    },
  });
  const isOver = () => rig.of('delivered').length + rig.of('dropped').length > 0;
  await rig.platform.until(isOver);
  const { counts } = await rig.end();
  return { ...rig, counts, posts: rig.platform.requestsTo('job-done') };
}

describe('delivering a result', () => {
  it('says what the reference says', async () => {
    const { posts } = await deliverThrough();
    expect(posts).toHaveLength(1);
    expect(posts[0]).toMatchObject({
      method: 'POST',
      path: '/v2/ep1/job-done/worker1/a',
      query: 'gpu=H200&isStream=false',
      headers: {
        authorization: 'platform-secret',
        'content-type': 'application/x-www-form-urlencoded',
        charset: 'utf-8',
        'x-request-id': 'a',
      },
      body: '{"output":{"echo":"é"}}',
    } satisfies Partial<RecordedRequest>);
  });

  it.each([500, 503, 408, 425, 429, 302, 401, 403] as const)(
    'is tried again after %i, with the same body, and not after it was accepted',
    async (status) => {
      const { posts, counts } = await deliverThrough(status, status, status);
      expect(posts.map((post) => post.status)).toEqual([status, status, status, 200]);
      expect(new Set(posts.map(({ body }) => body)).size).toBe(1);
      expect(counts).toMatchObject({ delivered: 1, repeats: 0, dropped: 0 });
    },
  );

  it.each([502, 504] as const)(
    'is tried again after %i, which may be said of a result that has arrived',
    async (status) => {
      const { counts, of } = await deliverThrough(status);
      expect(counts).toMatchObject({ delivered: 1, repeats: 1 });
      expect(of('delivery-retried')).toMatchObject([{ mayHaveArrived: true }]);
    },
  );

  it('counts every post after one that may have arrived as a repeat', async () => {
    const { counts } = await deliverThrough('drop-before', 'drop-before', 503, 503);
    expect(counts).toMatchObject({ delivered: 1, repeats: 4 });
  });

  it('says also long after that it may have arrived', async () => {
    const { of } = await deliverThrough('drop-after', 503, 503, 404);
    expect(of('dropped')).toMatchObject([{ attempts: 4, repeats: 3, mayHaveArrived: true }]);
  });

  it('goes on far beyond three tries', async () => {
    const { posts, counts } = await deliverThrough(...Array<number>(40).fill(500));
    expect(posts).toHaveLength(41);
    expect(counts).toMatchObject({ delivered: 1, repeats: 0 });
  });

  it('is tried again after a dropped connection, and counts that as a repeat', async () => {
    const before = await deliverThrough('drop-before');
    expect(before.platform.results('a')).toHaveLength(1);
    const after = await deliverThrough('drop-after');
    expect(after.platform.results('a')).toHaveLength(2);
    expect(after.counts).toMatchObject({ delivered: 1, repeats: 1 });
    expect(after.of('delivery-retried')).toMatchObject([{ mayHaveArrived: true }]);
  });

  it('waits for an answer that is slow', async () => {
    const { posts, counts } = await deliverThrough('slow');
    expect(posts).toHaveLength(1);
    expect(counts).toMatchObject({ delivered: 1, repeats: 0 });
  });

  it.each([400, 404, 409, 410, 422] as const)('ends with %i, which is reported', async (status) => {
    const { posts, counts, of } = await deliverThrough(status);
    expect(posts).toHaveLength(1);
    expect(counts).toMatchObject({ delivered: 0, dropped: 1 });
    expect(of('dropped')[0]).toMatchObject({ attempts: 1, mayHaveArrived: false });
    expect(of('dropped')[0]?.error).toContain(`answered ${status}`);
  });

  it('says that a refusal may mean that it has arrived, when an acknowledgement was lost', async () => {
    const { of } = await deliverThrough('drop-after', 404);
    expect(of('dropped')).toMatchObject([{ attempts: 2, repeats: 1, mayHaveArrived: true }]);
  });

  it('ends when a key is refused again and again', async () => {
    const { posts, of } = await deliverThrough(...Array<number>(100).fill(401));
    expect(posts).toHaveLength(8);
    expect(of('dropped')[0]?.error).toContain('answered 401');
  });

  it('waits as long as the platform asks', async () => {
    const asked = { status: 503, headers: { 'retry-after': '1' } };
    const { of } = await deliverThrough(asked);
    expect(of('delivery-retried')).toMatchObject([{ waitMs: 1_000 }]);
  });

  it('ends when the platform would no longer take it', async () => {
    const { platform, of } = await startRig({
      timing: { deliverMs: 100 },
      prepare: (it) => {
        it.spoilResults('a', ...Array<number>(1_000).fill(500));
        it.queue(job('a'));
      },
    });
    await platform.until(() => of('dropped').length > 0);
    expect(of('dropped')[0]?.error).toContain('answered 500');
  });

  it('survives an outage: refused connections, and a platform that comes back', async () => {
    const { platform, of, end, events } = await startRig({ prepare: (it) => it.queue(job('a')) });
    await platform.until(() => of('delivered').length === 1);
    await platform.outage(async () => {
      const isRefused = ({ error }: { error: string }) => error.includes('ECONNREFUSED');
      await platform.until(() => of('take-failed').some(isRefused));
    });
    platform.queue(job('b'));
    await platform.until(() => platform.results('b').length === 1);
    expect((await end()).counts).toMatchObject({ delivered: 2, repeats: 0 });
    expect(JSON.stringify(events)).not.toContain('platform-secret');
  });

  it('keeps a result through an outage', async () => {
    const { handler, release } = heldHandler();
    const { platform, of, end } = await startRig({
      handler,
      prepare: (it) => it.queue(job('a')),
    });
    await platform.until(() => of('taken').length === 1);
    await platform.outage(async () => {
      release('a');
      await platform.until(() => of('delivery-retried').length > 2);
    });
    await platform.until(() => platform.results('a').length === 1);
    expect(of('delivery-retried').every(({ mayHaveArrived }) => !mayHaveArrived)).toBe(true);
    expect((await end()).counts).toMatchObject({ delivered: 1, repeats: 0 });
  });
});

describe('progress', () => {
  it('comes in order, and before the result', async () => {
    const { platform } = await startRig({
      handler: async (_job, { progress }) => {
        for (const step of [0, 1, 2]) progress({ step });
        return 'done';
      },
      prepare: (it) => it.queue(job('a')),
    });
    await platform.until(() => platform.results('a').length === 1);
    expect(platform.accepted.get('a')).toEqual([
      { status: 'IN_PROGRESS', output: { step: 0 } },
      { status: 'IN_PROGRESS', output: { step: 1 } },
      { status: 'IN_PROGRESS', output: { step: 2 } },
      { output: 'done' },
    ]);
  });

  it('is what it was when it was reported', async () => {
    const { platform } = await startRig({
      handler: async (_job, { progress }) => {
        const state = { step: 1 };
        progress(state);
        state.step = 2;
        return null;
      },
      prepare: (it) => it.queue(job('a')),
    });
    await platform.until(() => platform.results('a').length === 1);
    expect(platform.accepted.get('a')?.[0]).toMatchObject({ output: { step: 1 } });
  });

  it('never throws, and is dropped when it fails or cannot be written', async () => {
    const dropped = Promise.withResolvers<void>();
    const { platform, of } = await startRig({
      handler: async (_job, { progress }) => {
        progress({ n: 1n });
        progress('lost');
        await dropped.promise;
        return 'done';
      },
      prepare: (it) => {
        it.spoilResults('a', 500, 500, 500);
        it.queue(job('a'));
      },
    });
    await platform.until(() => of('progress-dropped').length === 2);
    dropped.resolve();
    await platform.until(() => platform.results('a').length === 1);
    expect(platform.accepted.get('a')).toEqual([{ output: 'done' }]);
  });

  it('does not hold up the result, when it hangs', async () => {
    const { platform, of, end } = await startRig({
      platformOptions: { slowMs: 60_000 },
      timing: { lastProgressMs: 50 },
      handler: async (_job, { progress }) => {
        progress('hangs');
        progress('waits');
        return 'done';
      },
      prepare: (it) => {
        it.spoilResults('a', 'slow');
        it.queue(job('a'));
      },
    });
    await platform.until(() => of('delivered').length === 1);
    expect(platform.accepted.get('a')).toEqual([{ output: 'done' }]);
    expect(of('progress-dropped')).toHaveLength(2);
    expect((await end()).counts).toMatchObject({ delivered: 1, repeats: 0 });
  });

  it('lets the oldest reports go when there are too many', async () => {
    const { platform, of } = await startRig({
      handler: async (_job, { progress }) => {
        for (let step = 0; step < 100; step += 1) progress(step);
        return 'done';
      },
      prepare: (it) => it.queue(job('a')),
    });
    await platform.until(() => platform.results('a').length === 1);
    const steps = (platform.accepted.get('a') as { output: unknown }[]).map(({ output }) => output);
    expect(steps.at(-1)).toBe('done');
    expect(steps.at(-2)).toBe(99);
    expect(steps.length + of('progress-dropped').length).toBe(101);
  });

  it('is not sent after the result', async () => {
    let late: (output: unknown) => void = () => {};
    const { platform, of, end } = await startRig({
      handler: async (_job, { progress }) => {
        late = progress;
        return 'done';
      },
      prepare: (it) => it.queue(job('a')),
    });
    await platform.until(() => of('delivered').length === 1);
    late('too late');
    await end();
    expect(platform.requestsTo('job-done')).toHaveLength(1);
  });
});
