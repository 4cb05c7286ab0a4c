import type { Job } from './handler.ts';
import { type Answer, type HttpClient, Unanswered } from './http.ts';
import { isUsableId } from './job-id.ts';

/** What came of asking for jobs. */
export type Taken =
  | { kind: 'jobs'; jobs: readonly Job[]; malformed: readonly Malformed[] }
  /** `held`: the platform held the request open, so there is no need to wait before the next. */
  | { kind: 'none'; held: boolean }
  /** `waitMs`: how long to wait before the next try; null leaves it to us. */
  | { kind: 'failed'; error: string; waitMs: number | null };

export type TakenJobs = Extract<Taken, { kind: 'jobs' }>;

/** What came in a job's place. */
export interface Malformed {
  readonly id: string | null;
  readonly problem: string;
}

export interface Take {
  readonly url: string;
  readonly takeMs: number;
  readonly rateLimitedMs: number;
  /** Gives up a request that has not been answered yet. */
  readonly giveUp: AbortSignal;
}

/** An empty answer that took this long was held open by the platform. */
const HELD_MS = 1_000;

/** Asks for jobs once. The platform holds the request open while it has none. Never rejects. */
export async function takeJobs(client: HttpClient, take: Take): Promise<Taken> {
  const since = performance.now();
  try {
    const answer = await client.send({
      method: 'GET',
      url: take.url,
      headers: { 'Content-Type': 'application/json' }, // of no use without a body, but the reference's
      answerMs: take.takeMs,
      signal: take.giveUp,
    });
    const held = performance.now() - since >= HELD_MS;
    return (await read(answer, take.rateLimitedMs)) ?? { kind: 'none', held };
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error;
    // It may hold a request for longer than we do.
    if (error.timedOut || take.giveUp.aborted) return { kind: 'none', held: true };
    return failed(error.message);
  }
}

/** @returns null when there is nothing to do. */
async function read(answer: Answer, rateLimitedMs: number): Promise<Taken | null> {
  const { status } = answer;
  // 400 is how FlashBoot says that there is nothing to do.
  if (status === 204 || status === 400) {
    answer.discard();
    return null;
  }
  if (status === 429) return failed(await answer.describe(), answer.retryAfterMs ?? rateLimitedMs);
  if (status !== 200) return failed(await answer.describe(), answer.retryAfterMs);
  if (answer.contentType !== 'application/json') {
    return failed(`the platform answered ${answer.contentType || 'no type'} instead of JSON`);
  }
  return parse(await answer.text());
}

function parse(text: string): Taken | null {
  if (text.trim() === '') return null;
  let said: unknown;
  try {
    said = JSON.parse(text);
  } catch {
    return failed(`the platform answered JSON that cannot be parsed, ${text.length} characters`);
  }
  if (!isRecord(said) && !Array.isArray(said)) return null;
  return sort(Array.isArray(said) ? said : [said]);
}

function sort(items: readonly unknown[]): Taken | null {
  const jobs: Job[] = [];
  const malformed: Malformed[] = [];
  for (const item of items) {
    const problem = problemOf(item);
    if (problem === null) jobs.push(item as Job);
    else malformed.push({ id: idOf(item), problem });
  }
  return jobs.length || malformed.length ? { kind: 'jobs', jobs, malformed } : null;
}

function problemOf(item: unknown): string | null {
  if (!isRecord(item)) return `The job is ${item === null ? 'null' : typeof item}, not an object.`;
  if (idOf(item) === null) return 'The job has no id that can be used.';
  if (!('input' in item)) return 'The job has no input.';
  return null;
}

function idOf(item: unknown): string | null {
  if (!isRecord(item) || typeof item.id !== 'string') return null;
  return isUsableId(item.id) ? item.id : null;
}

function failed(error: string, waitMs: number | null = null): Taken {
  return { kind: 'failed', error, waitMs };
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
