/**
 * The pings, in a thread of their own: they go on while the main thread is busy with images. What they say of
 * jobs is what the main thread told last.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { pause } from '../time/awake.ts';
import { HttpClient, Unanswered } from './http.ts';
import { PlatformKey, withQuery } from './platform.ts';

/** What the thread is started with. */
export interface PingData {
  readonly url: string;
  readonly key: string;
  readonly userAgent: string;
  readonly wireVersion: string;
  readonly intervalMs: number;
  /** What the main thread has told before: true of the first ping too. */
  readonly orders: readonly PingOrder[];
}

/** What the main thread tells it. */
export type PingOrder =
  | { type: 'jobs'; ids: readonly string[] }
  | { type: 'unfit'; check: string; reason: string };

/** What it tells the main thread. */
export type PingReport = { type: 'failed'; error: string } | { type: 'unfit-told' };

/** After a ping that failed the next comes sooner than the interval, at first after this long. */
const RETRY_MS = 1_000;

interface State {
  jobs: readonly string[];
  unfit: { check: string; reason: string } | null;
  /** Ends the wait for the next ping. */
  wake: AbortController;
}

async function pingForever(data: PingData, state: State): Promise<never> {
  const client = new HttpClient(new PlatformKey(data.key), data.userAgent);
  for (let failures = 0; ; ) {
    const since = performance.now();
    state.wake = new AbortController();
    const error = await ping(client, data, state);
    if (error !== null) report({ type: 'failed', error });
    failures = error === null ? 0 : failures + 1;
    const sooner = failures > 0 ? RETRY_MS * 2 ** (failures - 1) : Number.POSITIVE_INFINITY;
    const rest = Math.min(data.intervalMs, sooner) - (performance.now() - since);
    await pause(Math.max(rest, 0), state.wake.signal);
  }
}

/** @returns what went wrong, or null. */
async function ping(client: HttpClient, data: PingData, state: State): Promise<string | null> {
  const { unfit } = state;
  try {
    const answer = await client.send({
      method: 'GET',
      url: withQuery(data.url, queryOf(data, state)),
      answerMs: data.intervalMs * 2, // as the reference
    });
    if (answer.status < 200 || answer.status >= 300) return await answer.describe();
    answer.discard();
    if (unfit) report({ type: 'unfit-told' });
    return null;
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error;
    return error.message;
  }
}

function queryOf({ wireVersion }: PingData, { jobs, unfit }: State): string {
  return new URLSearchParams({
    ...(jobs.length > 0 && { job_id: jobs.join(',') }),
    ...(unfit && { status: 'unhealthy', ...unfit }),
    runpod_version: wireVersion,
  }).toString();
}

function report(message: PingReport): void {
  parentPort?.postMessage(message);
}

if (parentPort) {
  const data = workerData as PingData;
  const state: State = { jobs: [], unfit: null, wake: new AbortController() };
  const hear = (order: PingOrder) => {
    if (order.type === 'jobs') {
      state.jobs = order.ids;
    } else {
      state.unfit = { check: order.check, reason: order.reason };
      state.wake.abort();
    }
  };
  data.orders.forEach(hear);
  parentPort.on('message', hear);
  await pingForever(data, state);
}
