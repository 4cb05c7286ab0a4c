import { randomUUID } from 'node:crypto';
import { inspect } from 'node:util';
import { z } from 'zod';

/** Where the platform's queue is and who we are to it, as the environment says. */
export interface Platform {
  readonly workerId: string;
  readonly key: PlatformKey;
  /** Jobs are asked for here. */
  readonly takeUrl: string;
  /** Which jobs to stop is asked here; null when it cannot be told from `takeUrl`. */
  readonly stopUrl: string | null;
  /** Results go here; `$RUNPOD_POD_ID` stands for the id of the worker that took the job, `$ID` for the job's. */
  readonly outputUrl: string;
  /** Null when the platform wants no pings. */
  readonly ping: { readonly url: string; readonly intervalMs: number } | null;
}

/** The environment is the platform's, but not one that a worker can work with. */
export class PlatformError extends Error {
  override readonly name = 'PlatformError';
}

/**
 * The key for the platform. It is never in anything that is printed, serialised or inspected: whoever
 * wants it has to ask for it.
 */
export class PlatformKey {
  readonly #key: string;

  constructor(key: string) {
    this.#key = key;
  }

  reveal(): string {
    return this.#key;
  }

  /** A text that came from outside, without the key. */
  redact(text: string): string {
    const spellings = [this.#key, encodeURIComponent(this.#key)].filter(Boolean);
    return spellings.reduce((rest, spelling) => rest.replaceAll(spelling, HIDDEN), text);
  }

  /** An error that came from outside; one that repeats the key, anywhere in it, becomes its text. */
  redactError(error: unknown): unknown {
    const text = inspect(error);
    const redacted = this.redact(text);
    return redacted === text ? error : new Error(redacted);
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [inspect.custom](): string {
    return HIDDEN;
  }
}

const HIDDEN = '[platform key]';

const TAKE_PATH = '/job-take/';

const schema = z.object({
  RUNPOD_WEBHOOK_GET_JOB: z.string(),
  RUNPOD_WEBHOOK_POST_OUTPUT: z
    .string('is not set: results would have nowhere to go')
    .includes('$ID', { error: 'must contain $ID, which stands for the id of a job' }),
  RUNPOD_WEBHOOK_PING: z.string().optional(),
  // Header values are visible ASCII, blanks and tabs (RFC 9110, 5.5). The value itself is not to be told.
  RUNPOD_AI_API_KEY: z
    .string('is not set: every request to the platform carries it')
    .regex(/^[\x20-\x7e]+$/, 'has characters that no HTTP header can carry'),
  RUNPOD_POD_ID: z.string().optional(),
  RUNPOD_PING_INTERVAL: z.coerce
    .number('must be a number of milliseconds')
    .int('must be a whole number of milliseconds')
    .min(1, 'must be at least 1 ms')
    .max(3_600_000, 'must be at most an hour')
    .default(10_000), // as the reference
});

/**
 * Reads the platform's environment. An empty variable counts as unset.
 *
 * @returns null when we are not on the platform: `RUNPOD_WEBHOOK_GET_JOB` is not set.
 * @throws PlatformError with everything that is wrong with it.
 */
export function readPlatform(env: Readonly<Record<string, string | undefined>>): Platform | null {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value));
  if (!given.RUNPOD_WEBHOOK_GET_JOB) return null;
  const parsed = schema.safeParse(given);
  if (!parsed.success)
    throw unusable(parsed.error.issues.map(({ path, message }) => [path, message]));
  return platformOf(parsed.data);
}

function platformOf(env: z.infer<typeof schema>): Platform {
  const key = new PlatformKey(env.RUNPOD_AI_API_KEY);
  const workerId = env.RUNPOD_POD_ID ?? randomUUID(); // as the reference
  const urlOf = (name: keyof typeof env) => {
    const url = fill(fill(String(env[name]), '$RUNPOD_POD_ID', workerId), '$ID', workerId);
    requireHttp(name, url, key);
    return url;
  };
  urlOf('RUNPOD_WEBHOOK_POST_OUTPUT'); // with any id, to see whether it is one
  const takeUrl = urlOf('RUNPOD_WEBHOOK_GET_JOB');
  return {
    workerId,
    key,
    takeUrl,
    stopUrl: takeUrl.includes(TAKE_PATH) ? takeUrl.replace(TAKE_PATH, '/job-stop/') : null,
    outputUrl: env.RUNPOD_WEBHOOK_POST_OUTPUT,
    ping: env.RUNPOD_WEBHOOK_PING
      ? { url: urlOf('RUNPOD_WEBHOOK_PING'), intervalMs: env.RUNPOD_PING_INTERVAL }
      : null,
  };
}

/** Whether the platform can be asked for more than one job at a time. */
export function canBatch(platform: Platform): boolean {
  return platform.takeUrl.includes(TAKE_PATH);
}

/** Where to ask for `wanted` jobs. */
export function takeUrlFor(platform: Platform, wanted: number, inProgress: boolean): string {
  const busy = `job_in_progress=${inProgress ? 1 : 0}`;
  if (wanted === 1) return withQuery(platform.takeUrl, busy);
  const batch = platform.takeUrl.replace(TAKE_PATH, '/job-take-batch/');
  return withQuery(batch, `batch_size=${wanted}&${busy}`);
}

/**
 * Where progress and result of a job go.
 *
 * @param workerId the worker that took it, when it was another.
 */
export function outputUrlFor(
  platform: Platform,
  jobId: string,
  workerId = platform.workerId,
): string {
  const url = fill(platform.outputUrl, '$RUNPOD_POD_ID', workerId);
  return withQuery(fill(url, '$ID', jobId), 'isStream=false');
}

/** The URL with more of a query. It is left as it is otherwise: the platform may have signed it. */
export function withQuery(url: string, query: string): string {
  return `${url}${url.includes('?') ? '&' : '?'}${query}`;
}

function fill(template: string, placeholder: string, value: string): string {
  return template.replaceAll(placeholder, () => encodeURIComponent(value));
}

function requireHttp(name: string, url: string, key: PlatformKey): void {
  const protocol = URL.parse(url)?.protocol;
  if (protocol === 'http:' || protocol === 'https:') return;
  // Its query may be a signature.
  const shown = key.redact(url).replace(/[?#].*/s, '');
  throw unusable([[[name], `is not a URL of http or https: ${shown}`]]);
}

function unusable(problems: [readonly PropertyKey[], string][]): PlatformError {
  const lines = problems.map(([path, problem]) => `${path.join('.')} ${problem}`);
  return new PlatformError(
    `RUNPOD_WEBHOOK_GET_JOB is set, so this is a RunPod worker, but its environment is not usable:` +
      ` ${lines.join('; ')}`,
  );
}
