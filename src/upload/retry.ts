import { asLotusError } from '../errors.ts';
import type { AllowList } from '../net/allow.ts';
import type { Network } from '../net/network.ts';
import { type Put, putBytes } from '../net/put.ts';
import { TimeLimit } from '../net/time-limit.ts';
import { pause } from '../time/awake.ts';
import { Backoff, type Pace } from '../time/backoff.ts';

/** What every upload of a job runs in. */
export interface UploadContext {
  /** For one file with all its tries, in milliseconds. */
  readonly timeoutMs: number;
  /** How the waits between tries grow; for tests. */
  readonly pace?: Pace | undefined;
  /** Instead of the internet; for tests. */
  readonly network?: Network | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Destination {
  /** Names it in what is said of a failure: `upload_url`. */
  readonly what: string;
  /** What may be put to beside the public internet. */
  readonly allow: AllowList;
}

/** With the waits between them some 8 s: a storage that restarts is back by then, and other jobs wait for their turn. */
const MAX_TRIES = 5;
const PACE: Pace = { firstMs: 500, maxMs: 8000 };

/** So that what hangs is tried again within the time. */
const MAX_HANGS = 2;

/**
 * Put something, and again when the storage or the network fails (5xx, 429, a connection that breaks off), until it is
 * there. Never rejects.
 *
 * @param prepare makes the request, anew for each try: a signature has a date.
 * @returns why it is not there, by the host and its last status; null when it is.
 */
export async function putUntilThere(
  prepare: () => Put | Promise<Put>,
  destination: Destination,
  { timeoutMs, pace = PACE, network, signal }: UploadContext,
): Promise<string | null> {
  using limit = new TimeLimit(timeoutMs, signal);
  const backoff = new Backoff(pace);
  const options = { network, signal: limit.signal };
  let last = `${destination.what} did not answer`;
  for (let tries = 1; ; tries += 1) {
    const fault = await tryOnce(prepare, destination, timeoutMs / MAX_HANGS, options);
    if (fault === null) return null;
    if (signal?.aborted) return 'the job was ended before it was there';
    if (limit.isOver) return `${last}, and after ${timeoutMs / 1000} s it is not tried again`;
    last = tries === 1 ? fault.why : `${fault.why}, ${tries} times`;
    if (!fault.mayPass || tries === MAX_TRIES) return last;
    await pause(backoff.next(), limit.signal);
  }
}

interface Fault {
  readonly why: string;
  /** Whether another try may go better. */
  readonly mayPass: boolean;
}

async function tryOnce(
  prepare: () => Put | Promise<Put>,
  { what, allow }: Destination,
  timeoutMs: number,
  options: { network: Network | undefined; signal: AbortSignal },
): Promise<Fault | null> {
  try {
    const put = await prepare();
    const status = await putBytes(put, what, { allow, timeoutMs }, options);
    if (status >= 200 && status <= 299) return null;
    const why = `${what} ${new URL(put.url).host} answered ${status}`;
    return { why, mayPass: status >= 500 || status === 429 };
  } catch (error) {
    const { code, message } = asLotusError(error);
    return { why: message.replace(/\.$/, ''), mayPass: code === 'fetch_failed' };
  }
}
