import { afterAwake, pause } from '../time/awake.ts';
import { Backoff } from '../time/backoff.ts';
import { type Answer, type HttpClient, Unanswered } from './http.ts';
import type { Timing } from './options.ts';

/** A body for the platform, and where it goes. */
export interface Delivery {
  readonly jobId: string;
  readonly url: string;
  readonly body: Buffer;
  readonly timing: Timing;
  /** Nobody wants it any more: the platform has stopped the job. */
  readonly unwanted: AbortSignal;
  /** Whether it may have arrived before the first post: a former worker may have posted it. */
  readonly mayHaveArrived: boolean;
  readonly onRetry: (retry: Retry) => void;
}

/** A try that failed. */
export interface Retry {
  readonly attempt: number;
  readonly error: string;
  readonly waitMs: number;
  readonly mayHaveArrived: boolean;
}

export type Delivered =
  /** `repeats`: posts that left us after one that may have arrived, be it a former worker's. */
  | { kind: 'delivered'; attempts: number; repeats: number }
  /** `status`: the platform's answer, when it was its last word. */
  | {
      kind: 'dropped';
      attempts: number;
      repeats: number;
      error: string;
      status: number | null;
      mayHaveArrived: boolean;
    }
  | { kind: 'unwanted' };

/** What one try came to. */
export type Attempt =
  | { kind: 'accepted' }
  /** `waitMs`: as the platform asks; null leaves it to us. */
  | ({ kind: 'failed'; waitMs: number | null } & Failure)
  /** For good. */
  | ({ kind: 'refused' } & Failure);

interface Failure {
  readonly error: string;
  readonly status: number | null;
  readonly mayHaveArrived: boolean;
}

/** The speed that a try is given time for, in bytes a second: the slowest that still makes sense. */
const SLOWEST = 250_000;

/** How often a key that is refused is tried again. It cannot change here, but its acceptance can. */
const UNAUTHORIZED_TRIES = 8;

/**
 * Delivers a result: again and again, with growing waits, until the platform accepts it, refuses it for good,
 * or would no longer take it.
 */
export async function deliver(client: HttpClient, delivery: Delivery): Promise<Delivered> {
  const { timing, unwanted } = delivery;
  const expired = new AbortController();
  const stopClock = afterAwake(timing.deliverMs, () => expired.abort());
  const over = AbortSignal.any([unwanted, expired.signal]);
  try {
    return await tryUntil(over, expired.signal, client, delivery);
  } finally {
    stopClock();
  }
}

async function tryUntil(
  over: AbortSignal,
  expired: AbortSignal,
  client: HttpClient,
  delivery: Delivery,
): Promise<Delivered> {
  const backoff = new Backoff(delivery.timing.deliverPace);
  let perhapsThere = delivery.mayHaveArrived;
  let repeats = 0;
  let unauthorized = 0;
  for (let attempts = 1; ; attempts += 1) {
    const outcome = await post(client, delivery, delivery.unwanted);
    if (perhapsThere && hasLeft(outcome)) repeats += 1;
    if (outcome.kind === 'accepted') return { kind: 'delivered', attempts, repeats };
    if (delivery.unwanted.aborted) return { kind: 'unwanted' };
    const { error, status, mayHaveArrived } = outcome;
    perhapsThere ||= mayHaveArrived;
    if (isUnauthorized(status)) unauthorized += 1;
    const isFinal = outcome.kind === 'refused' || unauthorized >= UNAUTHORIZED_TRIES;
    if (isFinal || expired.aborted) {
      return { kind: 'dropped', attempts, repeats, error, status, mayHaveArrived: perhapsThere };
    }
    const waitMs = outcome.waitMs ?? backoff.next();
    delivery.onRetry({ attempt: attempts, error, waitMs, mayHaveArrived });
    await pause(waitMs, over);
    if (delivery.unwanted.aborted) return { kind: 'unwanted' };
  }
}

/** Whether anything of a try has reached the platform, as far as we know. */
function hasLeft(outcome: Attempt): boolean {
  return outcome.kind === 'accepted' || outcome.status !== null || outcome.mayHaveArrived;
}

/** Posts a body once. */
export async function post(
  client: HttpClient,
  { jobId, url, body, timing }: Pick<Delivery, 'jobId' | 'url' | 'body' | 'timing'>,
  signal: AbortSignal,
): Promise<Attempt> {
  try {
    const answer = await client.send({
      method: 'POST',
      url,
      // The body is JSON whatever these say: so does the reference, and the platform expects it.
      headers: {
        charset: 'utf-8',
        'Content-Type': 'application/x-www-form-urlencoded',
        'X-Request-ID': headerSafe(jobId),
      },
      body,
      answerMs: timing.postMs + (body.length / SLOWEST) * 1000,
      signal,
    });
    return await judge(answer, timing);
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error;
    const { message, mayHaveArrived, hopeless } = error;
    const failure = { error: message, status: null, mayHaveArrived };
    return hopeless
      ? { kind: 'refused', ...failure }
      : { kind: 'failed', waitMs: null, ...failure };
  }
}

async function judge(answer: Answer, timing: Timing): Promise<Attempt> {
  const { status, retryAfterMs } = answer;
  if (status >= 200 && status < 300) {
    answer.discard();
    return { kind: 'accepted' };
  }
  const mayHaveArrived = isOfGateway(status);
  const failure = { error: await answer.describe(), status, mayHaveArrived };
  if (!mayChange(status)) return { kind: 'refused', ...failure };
  const waitMs = retryAfterMs ?? (status === 429 ? timing.rateLimitedMs : null);
  return { kind: 'failed', waitMs, ...failure };
}

/** Whether the same body may be accepted later: a 4xx says no, but for these. */
function mayChange(status: number): boolean {
  return (
    status < 400 || status >= 500 || [408, 425, 429].includes(status) || isUnauthorized(status)
  );
}

/** Said by one that stands between, of a server that it has sent the request to and had no good answer from. */
function isOfGateway(status: number): boolean {
  return status === 502 || status === 504;
}

function isUnauthorized(status: number | null): boolean {
  return status === 401 || status === 403;
}

/** RFC 9110, 5.5: what a header's value may be. Ids of the platform's own are. */
function headerSafe(id: string): string {
  return /^[\x21-\x7e]+$/.test(id) ? id : encodeURIComponent(id);
}
