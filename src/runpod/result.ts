import { isRecord } from './take.ts';

/** What is posted for a job. It is serialised once, however often it is sent. */
export interface Result {
  readonly body: Buffer;
  readonly failed: boolean;
  /** Whether the platform is asked for a fresh worker after this job. */
  readonly refresh: boolean;
}

/**
 * A handler's output as the reference would post it: `error` goes beside the output, `refresh_worker` becomes
 * `stopPod`, and an output with nothing in it is left out.
 *
 * @throws TypeError when it cannot be written as JSON.
 */
export function resultOf(output: unknown): Result {
  if (!isRecord(output)) return serialise({ output: output ?? null });
  const { error, refresh_worker: refresh, ...rest } = output;
  return serialise({
    ...(Object.keys(rest).length > 0 && { output: rest }),
    // As in the reference, an error that is nothing (null, '', 0) is none. Objects break clients.
    ...(error ? { error: typeof error === 'string' ? error : JSON.stringify(error) } : {}),
    ...(refresh ? { stopPod: true } : {}),
  });
}

/** A job that failed, with a text for its caller. */
export function failureOf(message: string): Result {
  return serialise({ error: message || 'The job failed.' });
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
