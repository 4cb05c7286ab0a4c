import { isRecord } from './take.ts';

/** What is posted for a job. It is serialised once, however often it is sent. */
export interface Result {
  readonly body: Buffer;
  readonly failed: boolean;
  /** Whether the platform is asked for a fresh worker after this job. */
  readonly refresh: boolean;
}

/** A handler's output, taken apart. */
export interface SplitOutput {
  /** Absent when there is nothing in it. */
  readonly output?: unknown;
  readonly error?: string;
  /** Whether a fresh worker is asked for. */
  readonly refresh: boolean;
}

/**
 * A handler's output as the reference takes it apart: an object's `error` and `refresh_worker` are no part of it, and
 * an object with nothing in it is no output.
 *
 * @throws TypeError when its error cannot be written as JSON.
 */
export function splitOutput(value: unknown): SplitOutput {
  if (!isRecord(value)) return { output: value ?? null, refresh: false };
  const { error, refresh_worker: refresh, ...output } = value;
  return {
    ...(Object.keys(output).length > 0 && { output }),
    // As in the reference, an error that is nothing (null, '', 0) is none. Objects break clients.
    ...(error ? { error: typeof error === 'string' ? error : JSON.stringify(error) } : {}),
    refresh: Boolean(refresh),
  };
}

/**
 * What is posted for a handler's output.
 *
 * @throws TypeError when it cannot be written as JSON.
 */
export function resultOf(value: unknown): Result {
  const { refresh, ...body } = splitOutput(value);
  return serialise({ ...body, ...(refresh && { stopPod: true }) });
}

/** The output of a job that failed, with a text for its caller. */
export function failure(message: string): { error: string } {
  return { error: message || 'The job failed.' };
}

interface Body {
  output?: unknown;
  error?: string;
  stopPod?: true;
}

function serialise(body: Body): Result {
  return {
    body: Buffer.from(JSON.stringify(body)),
    failed: body.error !== undefined,
    refresh: body.stopPod === true,
  };
}
