import { pause } from '../time/awake.ts';
import { Backoff } from '../time/backoff.ts';
import type { Observer } from './events.ts';
import { type Answer, type HttpClient, Unanswered } from './http.ts';
import type { Timing } from './options.ts';
import { isRecord } from './take.ts';

export interface StopSignals {
  readonly url: string;
  readonly timing: Timing;
  readonly onStop: (jobId: string) => void;
  readonly observer: Observer;
}

type Said =
  | { kind: 'stop'; ids: readonly string[] }
  | { kind: 'failed'; error: string; waitMs: number | null };

/** Asks which jobs to stop, over and over until `signal` aborts. The platform holds each question open. */
export async function watchStopSignals(
  client: HttpClient,
  { url, timing, onStop, observer }: StopSignals,
  signal: AbortSignal,
): Promise<void> {
  const backoff = new Backoff(timing.takePace);
  while (!signal.aborted) {
    const since = performance.now();
    const said = await ask(client, url, timing, signal);
    if (signal.aborted) return;
    if (said.kind === 'failed') {
      const waitMs = said.waitMs ?? backoff.next();
      observer({ type: 'stop-poll-failed', error: said.error, waitMs });
      await pause(waitMs, signal);
      continue;
    }
    backoff.reset();
    for (const id of said.ids) onStop(id);
    // For a platform that does not hold the question open.
    const rest = timing.stopPollMs - (performance.now() - since);
    if (said.ids.length === 0 && rest > 0) await pause(rest, signal);
  }
}

async function ask(
  client: HttpClient,
  url: string,
  timing: Timing,
  signal: AbortSignal,
): Promise<Said> {
  try {
    const answer = await client.send({
      method: 'GET',
      url,
      headers: { 'Content-Type': 'application/json' }, // as the reference
      answerMs: timing.takeMs,
      signal,
    });
    return await read(answer, timing);
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error;
    if (error.timedOut) return { kind: 'stop', ids: [] }; // it may hold a question for longer than we do
    return { kind: 'failed', error: error.message, waitMs: null };
  }
}

async function read(answer: Answer, timing: Timing): Promise<Said> {
  if (answer.status === 204) {
    answer.discard();
    return { kind: 'stop', ids: [] };
  }
  if (answer.status !== 200) {
    const waitMs = answer.retryAfterMs ?? (answer.status === 429 ? timing.rateLimitedMs : null);
    return { kind: 'failed', error: await answer.describe(), waitMs };
  }
  const ids = parse(await answer.text());
  return ids
    ? { kind: 'stop', ids }
    : { kind: 'failed', error: 'not {"jobsToStop":[ids]}', waitMs: null };
}

function parse(text: string): readonly string[] | null {
  try {
    const said: unknown = JSON.parse(text);
    if (!isRecord(said)) return null;
    const { jobsToStop = [] } = said;
    return Array.isArray(jobsToStop) ? jobsToStop.filter((id) => typeof id === 'string') : null;
  } catch {
    return null;
  }
}
