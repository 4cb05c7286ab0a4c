import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import type { WorkerEvent } from '../../src/runpod/events.ts';
import { HttpClient } from '../../src/runpod/http.ts';
import { type Platform, PlatformKey, readPlatform } from '../../src/runpod/platform.ts';
import { RunPodWorker } from '../../src/runpod/worker.ts';
import type { Pace } from '../../src/time/backoff.ts';
import type { Fault, RecordedRequest } from './platform.ts';
import { StandInPlatform } from './platform.ts';
import { echo, job, QUICK, startRig } from './rig.ts';

const JOBS = 200;

const TAKE_FAULTS: readonly Fault[] = [
  500,
  503,
  429,
  204,
  400,
  'html',
  'garbage',
  'drop-before',
  'slow',
];
const RESULT_FAULTS: readonly Fault[] = [
  500,
  503,
  408,
  { status: 429, headers: { 'retry-after': '0' } },
  'drop-before',
  'drop-after',
  'slow',
];

/** Mulberry32: the same numbers for the same seed, so that a failure comes again. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Read and accepted, but the worker has not heard of it. */
const isLostAcknowledgement = ({ status, body }: RecordedRequest) =>
  status === 'drop' && body !== null && !body.includes('IN_PROGRESS');

/** How many posts of one job followed one of the same delivery that may have arrived. */
function repeatsAmong(posts: readonly RecordedRequest[]): number {
  let repeats = 0;
  let perhapsThere = false;
  for (const { status } of posts) {
    if (perhapsThere) repeats += 1;
    if (status === 'drop') perhapsThere = true;
    if (status === 200) perhapsThere = false; // the next is of another delivery
  }
  return repeats;
}

describe.each([1, 2, 3])('200 jobs with faults, seed %i', (seed) => {
  it('are all delivered, and repeated only where an acknowledgement was lost', async () => {
    const random = randomFrom(seed);
    const oneOf = (faults: readonly Fault[]) =>
      faults[Math.floor(random() * faults.length)] as Fault;
    const ids = Array.from({ length: JOBS }, (_, n) => `${n % 3 ? 'job' : 'sync-job'}-${n}`);
    const runs = new Map<string, number>();
    const { platform, of, end } = await startRig({
      concurrency: 4,
      platformOptions: { slowMs: 20, holdMs: 100 },
      handler: async ({ id, input }, { progress }) => {
        runs.set(id, (runs.get(id) ?? 0) + 1);
        if (id.endsWith('7')) progress({ half: true });
        await sleep(id.length % 4);
        if (id.endsWith('9')) throw new Error(`no luck with ${id}`);
        return { echo: input };
      },
    });
    for (const [n, id] of ids.entries()) {
      if (random() < 0.3) platform.spoilTakes(oneOf(TAKE_FAULTS));
      const faults = Array.from({ length: Math.floor(random() * 4) }, () => oneOf(RESULT_FAULTS));
      platform.spoilResults(id, ...faults);
      if (n % 10 === 0) platform.queue([job(id, n), job(id, n)]);
      else if (n % 25 === 1) platform.queue([job(id, n), { id: `bad-${id}` }, 'nonsense']);
      else platform.queue(job(id, n));
    }
    const malformed = ids.filter((_, n) => n % 25 === 1 && n % 10 !== 0).length;

    await platform.until(() => of('delivered').length === JOBS + malformed);
    const again = ids.slice(0, 10);
    platform.queue(...again.map((id) => job(id, 'again')));
    await platform.until(() => of('delivered').length === JOBS + malformed + again.length);
    const { counts } = await end();

    for (const [n, id] of ids.entries()) {
      const posts = platform.requests.filter((it) => it.path.endsWith(`/job-done/worker1/${id}`));
      const times = again.includes(id) ? 2 : 1;
      expect(runs.get(id)).toBe(times);
      const results = platform.results(id);
      expect(results).toHaveLength(times + posts.filter(isLostAcknowledgement).length);
      expect(results[0]).toEqual(
        id.endsWith('9') ? { error: `no luck with ${id}` } : { output: { echo: n } },
      );
      expect(platform.accepted.get(id)?.at(-1)).toEqual(results.at(-1)); // nothing after the result
      if (id.endsWith('7')) continue; // what was dropped unread may have been its progress
      const repeats = of('delivered')
        .filter((event) => event.id === id)
        .map((event) => event.repeats);
      expect(repeats.reduce((sum, more) => sum + more)).toBe(repeatsAmong(posts));
    }
    expect(counts).toMatchObject({
      taken: JOBS + again.length,
      duplicates: 20,
      malformed: 2 * malformed,
      dropped: 0,
    });
    // The test would show nothing otherwise.
    expect(platform.requests.filter(isLostAcknowledgement).length).toBeGreaterThan(10);
    expect(of('take-failed').length).toBeGreaterThan(10);
  });
});

it('an error whose body never ends holds up no take, no stop poll and no result for long', async () => {
  const endless: Fault = { status: 503, headers: {}, body: 'so far', endless: true };
  const { platform, of } = await startRig({
    prepare: (it) => {
      it.spoilTakes(endless);
      it.spoilStopSignals(endless);
      it.spoilResults('a', endless);
      it.queue(job('a'));
    },
  });
  await platform.until(() => platform.results('a').length === 1);
  await platform.until(() => of('stop-poll-failed').length === 1);
  const error = 'the platform answered 503: so far';
  expect(of('take-failed')).toMatchObject([{ error }]);
  expect(of('stop-poll-failed')).toMatchObject([{ error }]);
  expect(of('delivery-retried')).toMatchObject([{ error }]);
}, 60_000); // the body of an answer that matters is waited for twice as long

/** Options that a program cannot have by its types, and that are found out late. */
const NO_PACE = undefined as unknown as Pace;

describe('a mistake of our own', () => {
  it.each([
    ['taking', { emptyPace: NO_PACE }],
    ['delivering', { deliverPace: NO_PACE }],
    ['asking for stop signals', { takePace: NO_PACE }],
  ])('in %s ends the worker, but not the other jobs that it has', async (where, wrong) => {
    const platform = await StandInPlatform.start();
    const events: WorkerEvent[] = [];
    const gate = Promise.withResolvers<void>();
    const worker = new RunPodWorker({
      handler: async (it) => {
        if (it.id === 'a') await gate.promise;
        return echo(it, {} as never);
      },
      concurrency: 3,
      platform: readPlatform(platform.env()) as Platform,
      observer: (event) => {
        events.push(event);
        platform.look();
      },
      timing: { ...QUICK, ...wrong },
    });
    platform.queue([job('a'), job('b')]);
    if (where === 'delivering') platform.spoilResults('b', 503);
    const ended = worker.run();
    const outcome = ended.then(
      () => 'resolved',
      (error: unknown) => String(error),
    );
    await platform.until(() => events.some(({ type }) => type === 'taken'));
    if (where === 'taking') platform.spoilTakes(204, 204);
    if (where === 'asking for stop signals') platform.spoilStopSignals(500, 500);
    await platform.until(() => events.some(({ type }) => type === 'stopping'));
    gate.resolve();
    expect(await outcome).toMatch(/^TypeError: Cannot read properties of undefined/);
    expect(platform.results('a')).toHaveLength(1);
    await platform.close();
  });
});

it('a client that is closed does not mind a freeze', async () => {
  const thaws: number[] = [];
  const client = new HttpClient(new PlatformKey('k'), 'test', (ms) => thaws.push(ms));
  await client.close();
  const now = performance.now.bind(performance);
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now() + 60_000);
  try {
    const sent = client.send({ method: 'GET', url: 'http://127.0.0.1:1/', answerMs: 1_000 });
    await expect(sent).rejects.toThrow(/destroyed/);
  } finally {
    clock.mockRestore();
  }
  expect(thaws).toEqual([]);
});
