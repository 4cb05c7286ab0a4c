/**
 * The stable codes that callers may rely on, each with its HTTP status: the caller's fault is 4xx, ours
 * is 5xx.
 */
export const ERROR_STATUS = {
  invalid_input: 400,
  no_image: 400,
  invalid_image: 400,
  image_too_large: 400,
  unsupported_format: 400,
  fetch_refused: 400,
  fetch_failed: 400,
  model_not_allowed: 400,
  shape_not_admitted: 400,
  unauthorized: 401,
  timed_out: 408,
  cancelled: 499,
  internal: 500,
  worker_crashed: 500,
  poison_job: 500,
  non_finite_map: 500,
  model_unavailable: 503,
  out_of_memory: 503,
  shutting_down: 503,
} as const;

export type ErrorCode = keyof typeof ERROR_STATUS;

/** Errors after which the same job may well succeed: nothing about the job itself was wrong. */
const RETRYABLE: ReadonlySet<ErrorCode> = new Set([
  'timed_out',
  'worker_crashed',
  'out_of_memory',
  'model_unavailable',
  'shutting_down',
]);

/**
 * An error that a caller gets to see.
 *
 * `message` says what was wrong, with the value, and what to do; it must be fit for strangers. What
 * only the log should know goes into `cause`.
 */
export class LotusError extends Error {
  override readonly name = 'LotusError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** The HTTP status that goes with the code. */
  get status(): number {
    return ERROR_STATUS[this.code];
  }

  /** Whether trying the same job again can help. */
  get retryable(): boolean {
    return RETRYABLE.has(this.code);
  }
}

/** What whoever has aborted a signal gets. */
export function cancelled(): LotusError {
  return new LotusError('cancelled', 'Cancelled.');
}

/** Whether an error is that one. */
export function isCancelled(error: unknown): boolean {
  return error instanceof LotusError && error.code === 'cancelled';
}

/** Why a signal of ours was aborted, when the system's signal has done it. */
export class Interruption extends Error {
  override readonly name = 'AbortError';
  readonly by: NodeJS.Signals;

  constructor(by: NodeJS.Signals) {
    super(`Interrupted by ${by}.`);
    this.by = by;
  }
}

/** Whether a person has aborted a signal, by Ctrl-C, and not somebody who stops workers. */
export function isByHand(signal: AbortSignal | undefined): boolean {
  return signal?.reason instanceof Interruption && signal.reason.by === 'SIGINT';
}

/** A mistake in how the program was called or configured: the CLI answers it with exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Something this machine lacks or that could not be set up; the message says what to do. */
export class SetupError extends Error {
  override readonly name = 'SetupError';
}

/** Any error as a LotusError: an unknown one becomes `internal`, its own text kept for the log. */
export function asLotusError(error: unknown): LotusError {
  if (error instanceof LotusError) return error;
  return new LotusError('internal', 'Internal error; the log says more.', { cause: error });
}

/** An error's message, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * A text as it may be shown and kept: URLs in it without user and password, and without their queries, for an
 * operator may have put a token into the one, and the other is where signed URLs have their signatures.
 */
export function withoutCredentials(text: string): string {
  return text.replaceAll(USER_INFO, '$1').replaceAll(QUERY, '$1?...$2');
}

/** What no URL holds unescaped, and what it ends at in a text. */
const END = String.raw`\s"\x60\\<>`;
const SCHEME = String.raw`\b[a-z][\w+.-]*:\/\/`;
const USER_INFO = new RegExp(`(${SCHEME})[^/${END}]*@`, 'gi');
/** Its second group is what belongs to the sentence around it. */
const QUERY = new RegExp(`(${SCHEME}[^?${END}]*)\\?[^${END}]*?([)'\\],.;:]*)(?=[${END}]|$)`, 'gi');
