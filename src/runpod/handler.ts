/** A job as the platform gives it. What is not named here is passed on as it came. */
export interface Job {
  readonly id: string;
  readonly input: unknown;
  readonly webhook?: unknown;
  readonly policy?: JobPolicy;
  readonly s3Config?: unknown;
  readonly http?: { readonly headers?: Readonly<Record<string, string | string[]>> };
  readonly [field: string]: unknown;
}

/** What the caller asked of the queue. Both in milliseconds. */
export interface JobPolicy {
  /** How long the job may run. */
  readonly executionTimeout?: number;
  /** How long it may exist, counted from when it was queued. */
  readonly ttl?: number;
  readonly [field: string]: unknown;
}

/** Why a job's signal was aborted: the platform stopped it, the worker ends, or its time is up. */
export type StopCause = 'stopped' | 'shutdown' | 'timed out';

/** The reason on a job's aborted signal. */
export class JobStopped extends Error {
  override readonly name = 'JobStopped';
  readonly why: StopCause;

  constructor(why: StopCause, message: string) {
    super(message);
    this.why = why;
  }
}

export interface JobContext {
  /** Aborted, with a `JobStopped` as its reason, when the job should end. */
  readonly signal: AbortSignal;
  /**
   * Reports progress: any JSON value. Reports of one job arrive in order and before its result. It never throws and
   * never waits; a report that the platform does not take is dropped.
   */
  progress(output: unknown): void;
  /** How many bytes of JSON, in UTF-8, the answer may have. */
  readonly maxOutputBytes: number;
}

/**
 * Does one job. What it resolves to is the job's output. An object with an `error` of text goes out as a failed job,
 * the rest of it as that job's output; so does what it throws, by its message.
 */
export type Handler = (job: Job, context: JobContext) => Promise<unknown>;
