import { setTimeout as sleep } from 'node:timers/promises';
import type { Job } from '../runpod/handler.ts';
import { jsonBytes, type Outcome } from './outcome.ts';

/** RunPod's words. The last four are final. */
export const JOB_STATUSES = [
  'IN_QUEUE',
  'IN_PROGRESS',
  'COMPLETED',
  'FAILED',
  'CANCELLED',
  'TIMED_OUT',
] as const;
export type JobStatus = (typeof JOB_STATUSES)[number];

/** Reports that nobody has read; a caller who never reads them must not fill the memory. */
const MAX_UNREAD = 100;

export interface JobRequest {
  /** What the handler gets; its id is the job's. */
  readonly job: Job;
  /** Whether somebody waits for the answer: `/runsync`. */
  readonly isSync: boolean;
  /** Of the request's body. */
  readonly bytes: number;
}

/** What a caller sees of a job. Times in milliseconds. */
export interface JobAnswer {
  id: string;
  status: JobStatus;
  delayTime?: number;
  executionTime?: number;
  output?: unknown;
  error?: string;
}

/** One job, from when it was asked for until its result is forgotten. */
export class LocalJob {
  #request: JobRequest;
  #status: JobStatus = 'IN_QUEUE';
  #queuedAt = performance.now();
  #startedAt: number | null = null;
  #endedAt: number | null = null;
  #outcome: { output?: unknown; error?: string; bytes: number } = { bytes: 0 };
  #progress: unknown;
  #unread: unknown[] = [];
  #news = Promise.withResolvers<void>();
  #end = Promise.withResolvers<void>();

  constructor(request: JobRequest) {
    this.#request = request;
  }

  get request(): JobRequest {
    return this.#request;
  }

  get id(): string {
    return this.#request.job.id;
  }

  /** Where its answer is posted to as well. */
  get webhook(): string | null {
    const { webhook } = this.#request.job;
    return typeof webhook === 'string' ? webhook : null;
  }

  get status(): JobStatus {
    return this.#status;
  }

  get isFinal(): boolean {
    return this.#endedAt !== null;
  }

  /** On the clock of `performance.now()`; null while it has not ended. */
  get endedAt(): number | null {
    return this.#endedAt;
  }

  /** What it takes to keep it: its result, and its input for another try. */
  get bytes(): number {
    return this.#outcome.bytes + this.#request.bytes;
  }

  /** Milliseconds in the queue and in the handler, so far. */
  get times(): { delayTime: number; executionTime: number } {
    const now = this.#endedAt ?? performance.now();
    const started = this.#startedAt ?? now;
    return {
      delayTime: Math.round(started - this.#queuedAt),
      executionTime: Math.round(now - started),
    };
  }

  start(): void {
    this.#status = 'IN_PROGRESS';
    this.#startedAt = performance.now();
  }

  /** A report of the handler's; ignored when the job has ended, or when it is no JSON. */
  report(output: unknown): void {
    if (this.isFinal || jsonBytes(output) === null) return;
    this.#progress = output;
    this.#tell(output);
  }

  /** The first end counts. @returns whether it was this. */
  end(status: JobStatus, outcome: Omit<Outcome, 'status'> = { bytes: 0 }): boolean {
    if (this.isFinal) return false;
    this.#status = status;
    this.#endedAt = performance.now();
    this.#outcome = outcome;
    if (outcome.output !== undefined) this.#tell(outcome.output);
    // Only one that failed is ever run again.
    if (status === 'COMPLETED' || status === 'CANCELLED') this.#dropInput();
    this.#news.resolve();
    this.#end.resolve();
    return true;
  }

  /** Back into the queue, as if nothing had happened. */
  again(): void {
    this.#status = 'IN_QUEUE';
    this.#queuedAt = performance.now();
    this.#startedAt = null;
    this.#endedAt = null;
    this.#outcome = { bytes: 0 };
    this.#progress = undefined;
    this.#unread = [];
    this.#news = Promise.withResolvers();
    this.#end = Promise.withResolvers();
  }

  /** Resolves when it has ended, or after so many milliseconds. */
  async ended(ms: number): Promise<void> {
    await within(this.#end.promise, ms);
  }

  /** What was reported since this was asked for last, the result at the end; waits so long for something. */
  async read(ms: number): Promise<unknown[]> {
    if (this.#unread.length === 0 && !this.isFinal) await within(this.#news.promise, ms);
    const unread = this.#unread;
    this.#unread = [];
    if (!this.isFinal) this.#news = Promise.withResolvers();
    return unread;
  }

  answer(): JobAnswer {
    const { id, status } = this;
    if (status === 'IN_QUEUE') return { id, status };
    const { delayTime, executionTime } = this.times;
    if (!this.isFinal) {
      const output = this.#progress === undefined ? {} : { output: this.#progress };
      return { id, status, delayTime, ...output };
    }
    const { output, error } = this.#outcome;
    return {
      id,
      status,
      delayTime,
      executionTime,
      ...(output === undefined ? {} : { output }),
      ...(error === undefined ? {} : { error }),
    };
  }

  #dropInput(): void {
    const { isSync, job } = this.#request;
    const { webhook } = job;
    this.#request = { job: { id: job.id, input: null, webhook }, isSync, bytes: 0 };
  }

  #tell(output: unknown): void {
    this.#unread.push(output);
    if (this.#unread.length > MAX_UNREAD) this.#unread.shift();
    this.#news.resolve();
  }
}

async function within(work: Promise<void>, ms: number): Promise<void> {
  const stop = new AbortController();
  const time = sleep(ms, undefined, { signal: stop.signal }).catch(() => {}); // stopped, below
  await Promise.race([work, time]);
  stop.abort();
}
