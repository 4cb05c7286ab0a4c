import { type Handler, JobStopped, type StopCause } from '../runpod/handler.ts';
import { ENVELOPE_BYTES } from '../runpod/options.ts';
import { ApiError } from './errors.ts';
import { type JobRequest, type JobStatus, LocalJob } from './job.ts';
import { failedOutcome, outcomeOf } from './outcome.ts';

export interface QueueOptions {
  readonly handler: Handler;
  /** Nothing runs before; jobs are accepted. */
  readonly ready: Promise<unknown>;
  readonly limits: QueueLimits;
  /** A job has ended, for the log and the metrics. Called once for each end. */
  readonly onEnd: (job: LocalJob) => void;
}

/** Times in milliseconds, sizes in bytes. */
export interface QueueLimits {
  /** How many handlers may run at once. */
  readonly concurrency: number;
  /** Jobs that wait, by number and by the size of their requests. */
  readonly maxQueued: number;
  readonly maxQueuedBytes: number;
  /** How long a job may run and exist where its policy says nothing. */
  readonly executionMs: number;
  readonly ttlMs: number;
  /** How long results are kept. */
  readonly keepMs: number;
  readonly keepSyncMs: number;
  /** Results that are kept, by number and size; the oldest go first. */
  readonly maxKept: number;
  readonly maxKeptBytes: number;
  /** The largest result, what is around the handler's output included. */
  readonly maxOutputBytes: number;
  readonly maxSyncOutputBytes: number;
}

export interface JobCounts {
  completed: number;
  failed: number;
  inProgress: number;
  inQueue: number;
  retried: number;
}

const STOP_TEXTS: Readonly<Record<StopCause, string>> = {
  stopped: 'The job was cancelled.',
  shutdown: 'The server is shutting down.',
  'timed out': 'The job has run for as long as it may.',
};

/** The jobs of the local API: those that wait, those that run, and those whose results are still kept. */
export class JobQueue {
  readonly #options: QueueOptions;
  readonly #waiting = new Set<LocalJob>();
  readonly #running = new Map<LocalJob, AbortController>();
  readonly #kept = new Map<string, LocalJob>();
  /** One for each job that waits or runs: when its time to live is over. */
  readonly #deaths = new Map<LocalJob, NodeJS.Timeout>();
  #concurrency: number;
  #isReady = false;
  #isOpen = true;
  #idle = Promise.withResolvers<void>();
  #total = { completed: 0, failed: 0, retried: 0 };

  constructor(options: QueueOptions) {
    this.#options = options;
    this.#concurrency = options.limits.concurrency;
    options.ready.then(
      () => this.resume(),
      () => {}, // whoever made it sees to its failure
    );
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** How many handlers may run at once. */
  get concurrency(): number {
    return this.#concurrency;
  }

  /** Begins no job until `resume`: what does the work is down for a while. */
  pause(): void {
    this.#isReady = false;
  }

  /** Begins jobs again. @param concurrency how many may run at once from now on; default: as before. */
  resume(concurrency = this.#concurrency): void {
    this.#isReady = true;
    this.#concurrency = concurrency;
    this.#pump();
  }

  get counts(): JobCounts {
    return { ...this.#total, inProgress: this.#running.size, inQueue: this.#waiting.size };
  }

  /** @throws ApiError `queue_full`, `shutting_down`. */
  submit(request: JobRequest): LocalJob {
    this.#admit(request.bytes);
    const job = new LocalJob(request);
    this.#enqueue(job);
    return job;
  }

  /** @throws ApiError `not_found`. */
  find(id: string): LocalJob {
    this.#forget();
    const job =
      this.#kept.get(id) ??
      [...this.#waiting, ...this.#running.keys()].find((active) => active.id === id);
    if (job) return job;
    throw new ApiError('not_found', 'There is no job of this id, or its result is no longer kept.');
  }

  /** Has no effect on a job that has ended. */
  cancel(job: LocalJob): void {
    this.#stop(job, 'CANCELLED', 'stopped');
  }

  /** @throws ApiError `not_retryable`, `queue_full`, `shutting_down`. */
  retry(job: LocalJob): void {
    if (job.status !== 'FAILED' && job.status !== 'TIMED_OUT') {
      const text = `The job is ${job.status}: only one that is FAILED or TIMED_OUT is tried again.`;
      throw new ApiError('not_retryable', text);
    }
    if (this.#running.has(job)) {
      throw new ApiError('not_retryable', 'The job has not stopped yet: try it again later.');
    }
    this.#admit(job.request.bytes);
    this.#kept.delete(job.id);
    this.#total.retried += 1;
    job.again();
    this.#enqueue(job);
  }

  /** Cancels what waits. @returns how many that were. */
  purge(): number {
    const waiting = [...this.#waiting];
    for (const job of waiting) this.cancel(job);
    return waiting.length;
  }

  /** Accepts nothing more, lets what runs finish within this time, and stops what is left. */
  async close(graceMs: number): Promise<void> {
    this.#isOpen = false;
    for (const job of [...this.#waiting]) this.#stop(job, 'FAILED', 'shutdown');
    if (this.#running.size === 0) return;
    const over = setTimeout(() => {
      for (const job of [...this.#running.keys()]) this.#stop(job, 'FAILED', 'shutdown');
      this.#idle.resolve(); // a handler that does not listen is not waited for
    }, graceMs);
    await this.#idle.promise;
    clearTimeout(over);
  }

  #admit(bytes: number): void {
    if (!this.#isOpen) throw new ApiError('shutting_down', STOP_TEXTS.shutdown);
    const { maxQueued, maxQueuedBytes } = this.#options.limits;
    const queued = [...this.#waiting].reduce((sum, { request }) => sum + request.bytes, 0);
    if (this.#waiting.size >= maxQueued || queued + bytes > maxQueuedBytes) {
      throw new ApiError(
        'queue_full',
        `${this.#waiting.size} jobs with ${queued} bytes wait already: try again later.`,
      );
    }
  }

  #enqueue(job: LocalJob): void {
    const ttl = job.request.job.policy?.ttl ?? this.#options.limits.ttlMs;
    this.#deaths.set(
      job,
      setTimeout(() => this.#stop(job, 'TIMED_OUT', 'timed out'), ttl),
    );
    this.#waiting.add(job);
    this.#pump();
  }

  #pump(): void {
    for (const job of this.#waiting) {
      if (!this.#isReady || this.#running.size >= this.#concurrency) return;
      this.#waiting.delete(job);
      void this.#run(job);
    }
  }

  async #run(job: LocalJob): Promise<void> {
    const { handler, limits } = this.#options;
    const { job: asked, isSync } = job.request;
    const abort = new AbortController();
    const maxBytes = isSync ? limits.maxSyncOutputBytes : limits.maxOutputBytes;
    const maxOutputBytes = maxBytes - ENVELOPE_BYTES;
    const time = asked.policy?.executionTimeout ?? limits.executionMs;
    const over = setTimeout(() => this.#stop(job, 'TIMED_OUT', 'timed out'), time);
    this.#running.set(job, abort);
    job.start();
    try {
      const progress = (output: unknown) => job.report(output);
      const value = await handler(asked, { signal: abort.signal, progress, maxOutputBytes });
      const { status, ...outcome } = outcomeOf(value, maxBytes);
      this.#end(job, status, outcome);
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.#end(job, 'FAILED', failedOutcome(text || 'The job failed.'));
    } finally {
      clearTimeout(over);
      this.#running.delete(job);
      if (!this.#isOpen && this.#running.size === 0) this.#idle.resolve();
      this.#pump();
    }
  }

  /** Ends a job for its caller at once; the slot it runs in is free when its handler returns. */
  #stop(job: LocalJob, status: JobStatus, why: StopCause): void {
    const text = STOP_TEXTS[why];
    this.#waiting.delete(job);
    this.#end(job, status, status === 'CANCELLED' ? { bytes: 0 } : failedOutcome(text));
    this.#running.get(job)?.abort(new JobStopped(why, text));
  }

  #end(job: LocalJob, status: JobStatus, outcome: Parameters<LocalJob['end']>[1]): void {
    if (!job.end(status, outcome)) return;
    clearTimeout(this.#deaths.get(job));
    this.#deaths.delete(job);
    this.#total[status === 'COMPLETED' ? 'completed' : 'failed'] += status === 'CANCELLED' ? 0 : 1;
    this.#kept.set(job.id, job);
    this.#forget();
    this.#options.onEnd(job);
  }

  /** Drops results whose time is over, and the oldest where there are too many. */
  #forget(): void {
    const { keepMs, keepSyncMs, maxKept, maxKeptBytes } = this.#options.limits;
    const now = performance.now();
    for (const [id, { endedAt, request }] of this.#kept) {
      const keep = request.isSync ? keepSyncMs : keepMs;
      if (endedAt !== null && now - endedAt > keep) this.#kept.delete(id);
    }
    let bytes = [...this.#kept.values()].reduce((sum, job) => sum + job.bytes, 0);
    for (const [id, job] of this.#kept) {
      if (this.#kept.size <= maxKept && bytes <= maxKeptBytes) return;
      bytes -= job.bytes;
      this.#kept.delete(id);
    }
  }
}
