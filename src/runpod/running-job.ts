import { afterAwake } from '../time/awake.ts';
import type { BoundedOutbox } from './bounded-outbox.ts';
import { type Delivered, deliver } from './deliver.ts';
import type { Observer } from './events.ts';
import { type Handler, type Job, JobStopped, type StopCause } from './handler.ts';
import type { HttpClient } from './http.ts';
import { bodyLimit, ENVELOPE_BYTES, type Limits, type Timing } from './options.ts';
import type { Owed } from './outbox.ts';
import { outputUrlFor, type Platform } from './platform.ts';
import { ProgressReports } from './progress.ts';
import { failure, type Result, resultOf } from './result.ts';

export interface JobOptions {
  readonly handler: Handler;
  readonly platform: Platform;
  readonly client: HttpClient;
  readonly limits: Limits;
  readonly timing: Timing;
  readonly observer: Observer;
  readonly outbox: BoundedOutbox | null;
  /** What a former worker has made for this job. */
  readonly owed?: Owed | undefined;
}

/** What a job's signal says, and, when the handler throws it, its caller. */
const REASONS: Readonly<Record<StopCause, string>> = {
  stopped: 'The job was stopped.',
  shutdown: 'The worker is shutting down.',
  'timed out': 'The job has run for as long as its policy allows.',
};

const PAYLOAD_TOO_LARGE = 413;

/** One job, from when it was taken until its result is delivered; or only the end of it, where a former worker died. */
export class RunningJob {
  readonly id: string;
  readonly #options: JobOptions;
  readonly #url: string;
  readonly #limit: number;
  readonly #progress: ProgressReports;
  /** The handler's signal. */
  readonly #abort = new AbortController();
  /** Nothing more is posted. */
  readonly #unwanted = new AbortController();
  readonly #left = Promise.withResolvers<null>();
  readonly #gone = Promise.withResolvers<void>();
  /** Null once it runs: its input may be large, and must not be kept until the result is delivered. */
  #job: Job | null;
  /** What is to be kept before the first post, and no longer: it may be large, and the result has it too. */
  #toKeep: { output: unknown } | null = null;
  readonly #since = performance.now();
  #delivering = false;
  #isStopped = false;

  constructor(job: Job, options: JobOptions) {
    this.id = job.id;
    this.#job = job;
    this.#options = options;
    this.#delivering = options.owed !== undefined;
    this.#url = outputUrlFor(options.platform, job.id, options.owed?.workerId);
    this.#limit = bodyLimit(job.id, options.limits);
    this.#progress = new ProgressReports(options.client, {
      jobId: job.id,
      url: this.#url,
      limit: this.#limit,
      timing: options.timing,
      unwanted: this.#unwanted.signal,
      onDrop: (error) => this.#observe({ type: 'progress-dropped', id: this.id, error }),
    });
  }

  /** Whether the platform still wants its result. */
  get isWanted(): boolean {
    return !this.#unwanted.signal.aborted;
  }

  /** Resolves when the handler has ended and nothing is under way any more. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  /** The platform has stopped it. */
  stop(): void {
    if (!this.isWanted) return;
    this.#isStopped = true;
    this.#observe({ type: 'stopped', id: this.id, during: this.#delivering ? 'delivery' : 'run' });
    this.#unwanted.abort();
    this.#abort.abort(new JobStopped('stopped', REASONS.stopped));
  }

  /** Its handler should come to an end. What it returns is delivered. */
  abort(why: StopCause): void {
    if (this.#delivering || this.#abort.signal.aborted) return;
    this.#observe({ type: 'aborted', id: this.id, why });
    this.#abort.abort(new JobStopped(why, REASONS[why]));
  }

  /** Its handler is waited for no longer, and nothing is posted: the platform hands the job out again. */
  abandon(): void {
    if (this.#delivering) return;
    if (this.isWanted) this.#observe({ type: 'abandoned', id: this.id });
    this.#unwanted.abort();
    this.#left.resolve(null);
  }

  /** Runs the handler. @returns what to deliver, or null when nobody wants it. */
  async run(): Promise<Result | null> {
    const job = this.#job;
    this.#job = null;
    if (!job || !this.isWanted) return await this.#letGo();
    const since = performance.now();
    const stopClock = this.#limitTime(job);
    const result = await Promise.race([this.#handle(job), this.#left.promise]);
    stopClock();
    if (result === null || !this.isWanted) return await this.#letGo();
    return this.#finish(result, performance.now() - since);
  }

  /** What a former worker has made for a job that the platform has stopped is not wanted either. */
  async #letGo(): Promise<null> {
    if (this.#isStopped) await this.#options.outbox?.forget(this.id);
    return null;
  }

  /** Gives it up without a run. @returns what to deliver. */
  fail(message: string): Result {
    return this.#finish(this.#resultOf(failure(message)), 0);
  }

  /** Takes what a former worker has made for it. @returns what to deliver. */
  resume({ workerId, ageMs }: Owed, output: unknown): Result {
    const result = this.#resultOf(output);
    const bytes = result.body.length;
    this.#observe({ type: 'recovered', id: this.id, worker: workerId, ageMs, bytes });
    // Whoever asked for a fresh worker after this job has one.
    return { ...result, refresh: false };
  }

  /** Delivers what `run`, `fail` or `resume` gave. It is kept until nothing is left to be done for it. */
  async deliver(result: Result): Promise<Delivered> {
    await Promise.all([this.#progress.end(), this.#keep()]);
    const delivered = await this.#deliverAndTell(result);
    await this.#options.outbox?.forget(this.id);
    return delivered;
  }

  async #keep(): Promise<void> {
    const toKeep = this.#toKeep;
    this.#toKeep = null;
    if (toKeep) await this.#options.outbox?.keep(this.id, toKeep.output);
  }

  async #deliverAndTell(result: Result): Promise<Delivered> {
    const since = performance.now();
    const delivered = await this.#deliver(result.body);
    const bytes = result.body.length;
    if (delivered.kind === 'delivered') {
      const ms = performance.now() - since;
      const { kind, ...how } = delivered;
      this.#observe({ type: kind, id: this.id, ms, bytes, ...how });
    } else if (delivered.kind === 'dropped') {
      const { kind, status, ...how } = delivered;
      const untold = status === PAYLOAD_TOO_LARGE && (await this.#tellTooLarge(bytes));
      const error = untold ? `${how.error}; nor can its caller be told: ${untold}` : how.error;
      this.#observe({ type: kind, id: this.id, bytes, ...how, error });
    }
    return delivered;
  }

  /** The result cannot come, but its caller can know why. @returns why not, or null. */
  async #tellTooLarge(bytes: number): Promise<string | null> {
    const told = await this.#deliver(resultOf(failure(tooLarge(bytes, null))).body);
    return told.kind === 'dropped' ? told.error : null;
  }

  /** It is over. */
  end(): void {
    this.#unwanted.abort();
    this.#gone.resolve();
  }

  #finish(result: Result, ms: number): Result {
    this.#delivering = true;
    const { failed, body } = result;
    this.#observe({ type: 'finished', id: this.id, failed, ms, bytes: body.length });
    return result;
  }

  /** The policy's time, of which a freeze is no part: the handler has had none of it. */
  #limitTime(job: Job): () => void {
    const limit = job.policy?.executionTimeout;
    if (typeof limit !== 'number' || !(limit > 0) || !Number.isFinite(limit)) return () => {};
    return afterAwake(limit, () => this.abort('timed out'));
  }

  async #handle(job: Job): Promise<Result> {
    const { handler, platform } = this.#options;
    try {
      const output = await handler(job, {
        signal: this.#abort.signal,
        progress: (report) => this.#progress.report(report),
        maxOutputBytes: this.#limit - ENVELOPE_BYTES,
      });
      return this.#resultOf(output);
    } catch (error) {
      const { key } = platform;
      const told = key.redactError(error);
      if (this.isWanted) this.#observe({ type: 'handler-threw', id: this.id, error: told });
      return this.#resultOf(failure(key.redact(messageOf(error))));
    }
  }

  /** What is posted for an output, or for the lack of one that fits. It is to be kept. */
  #resultOf(given: unknown): Result {
    const result = resultOf(given);
    const bytes = result.body.length;
    const fits = bytes <= this.#limit;
    if (!fits) this.#observe({ type: 'oversized', id: this.id, bytes, limit: this.#limit });
    const output = fits ? given : failure(tooLarge(bytes, this.#limit));
    if (!this.#options.owed) this.#toKeep = { output };
    return fits ? result : resultOf(output);
  }

  #deliver(body: Buffer): Promise<Delivered> {
    return deliver(this.#options.client, {
      jobId: this.id,
      url: this.#url,
      body,
      timing: { ...this.#options.timing, deliverMs: this.#deliverMs },
      unwanted: this.#unwanted.signal,
      mayHaveArrived: this.#options.owed !== undefined,
      onRetry: (retry) => this.#observe({ type: 'delivery-retried', id: this.id, ...retry }),
    });
  }

  /** How long the result is offered to the platform, from now on. */
  get #deliverMs(): number {
    const { owed, timing } = this.#options;
    if (!owed) return timing.deliverMs;
    return Math.max(0, timing.deliverMs - owed.ageMs - (performance.now() - this.#since));
  }

  get #observe(): Observer {
    return this.#options.observer;
  }
}

/** What a handler threw, in words: it may be anything. */
function messageOf(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error);
  } catch {
    return ''; // an object that has no words
  }
}

function tooLarge(bytes: number, limit: number | null): string {
  const most = limit === null ? 'more than the platform takes' : `the platform takes ${limit}`;
  return `The result has ${bytes} bytes, ${most}: ask for less, or have it uploaded and get its URL.`;
}
