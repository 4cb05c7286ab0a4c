import type { Pace } from '../time/backoff.ts';
import type { Observer } from './events.ts';
import type { Handler } from './handler.ts';
import type { Outbox } from './outbox.ts';
import type { Platform } from './platform.ts';

export interface WorkerOptions {
  readonly handler: Handler;
  readonly platform: Platform;
  /** How many handlers may run at once. Default 1. */
  readonly concurrency?: number;
  /** Where results are kept until they are delivered, so that they outlive this worker. Default: nowhere. */
  readonly outbox?: Outbox;
  /** Sees what happens. */
  readonly observer?: Observer;
  /** How large a result may be, in bytes of its request's body. */
  readonly limits?: Partial<Limits>;
  readonly timing?: Partial<Timing>;
  /** Sent as `User-Agent`. */
  readonly userAgent?: string;
  /** Sent with every ping as `runpod_version`. */
  readonly wireVersion?: string;
  /** While more results than this wait to be delivered, no job is taken. Default 100. */
  readonly maxUndelivered?: number;
  /** While more bytes of results than this wait to be delivered, no job is taken. Default 128 MB. */
  readonly maxUndeliveredBytes?: number;
}

export interface Limits {
  /** For jobs of `/run`. */
  readonly run: number;
  /** For jobs of `/runsync`: their ids begin with `sync-`. */
  readonly runsync: number;
}

/** All in milliseconds. */
export interface Timing {
  /** How long a request for jobs may stay open. The reference's. */
  readonly takeMs: number;
  /** How long after `stop()` the request for jobs that is open then is waited for: it may bring some. */
  readonly lastTakeMs: number;
  /** How long after `stop()` jobs may go on. */
  readonly graceMs: number;
  /** How long a handler has to return after its signal was aborted for the shutdown. */
  readonly abortMs: number;
  /** How long a result is offered to the platform: it keeps what it has for 30 minutes. */
  readonly deliverMs: number;
  /** How long one try at it may take, beside a second for every 250 kB. */
  readonly postMs: number;
  /** How long one call of the outbox is waited for. */
  readonly outboxMs: number;
  /** How often the outbox is asked what former workers have left to deliver. */
  readonly recoverMs: number;
  /** How long progress that is still under way may hold up the result. */
  readonly lastProgressMs: number;
  /** The wait after a 429 that says nothing of it. The reference's. */
  readonly rateLimitedMs: number;
  /** Waits between tries to deliver a result, and to report progress. */
  readonly deliverPace: Pace;
  /** Waits after requests for jobs that failed. */
  readonly takePace: Pace;
  /** Waits after empty answers that came at once; one that was held open is followed by the next at once. */
  readonly emptyPace: Pace;
  /** The least time from one question for stop signals to the next. The reference's. */
  readonly stopPollMs: number;
}

/** RunPod says 10 MB and 20 MB; its SDK counts a MB as a million bytes, which is the smaller reading. */
export const LIMITS: Limits = { run: 10_000_000, runsync: 20_000_000 };

/** Six results of the largest kind: a platform that accepts none should not be asked for more. */
export const MAX_UNDELIVERED_BYTES = 128_000_000;

/** Each is a request that is open, or one that comes again within half a minute. */
export const MAX_UNDELIVERED = 100;

/** What the platform's own fields around an output may take of the limit. */
export const ENVELOPE_BYTES = 1_024;

export const TIMING: Timing = {
  takeMs: 90_000,
  lastTakeMs: 5_000,
  graceMs: 30_000,
  abortMs: 10_000,
  deliverMs: 30 * 60_000,
  postMs: 60_000,
  outboxMs: 10_000,
  recoverMs: 30_000,
  lastProgressMs: 1_000,
  rateLimitedMs: 5_000,
  deliverPace: { firstMs: 500, maxMs: 30_000 },
  takePace: { firstMs: 500, maxMs: 30_000 },
  emptyPace: { firstMs: 50, maxMs: 1_000 },
  stopPollMs: 1_000,
};

/** The version of the official SDK whose conversation with the platform this is. */
export const WIRE_VERSION = '1.12.0';

export const USER_AGENT = `lotus-worker/runpod (${process.platform}; ${process.arch}) Node.js/${process.versions.node}`;

/** How many bytes the body of a job's result may have. */
export function bodyLimit(jobId: string, limits: Limits): number {
  return jobId.startsWith('sync-') ? limits.runsync : limits.run;
}
