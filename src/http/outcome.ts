import { splitOutput } from '../runpod/result.ts';

/** How a job ended. */
export interface Outcome {
  readonly status: 'COMPLETED' | 'FAILED';
  readonly output?: unknown;
  readonly error?: string;
  /** Of output and error as JSON. */
  readonly bytes: number;
}

/**
 * What a handler gave, as the queue would show it to the caller: an object with an `error` is a failed job, the rest of
 * it that job's output. There is no other worker to be had, so a wish for one is dropped.
 *
 * @throws TypeError when its error cannot be written as JSON.
 */
export function outcomeOf(value: unknown, maxBytes: number): Outcome {
  const { error, output } = splitOutput(value);
  const bytes = jsonBytes({ error, output });
  if (bytes === null) return failedOutcome('The result cannot be written as JSON.');
  if (bytes > maxBytes) {
    return failedOutcome(
      `The result has ${bytes} bytes, and ${maxBytes} are allowed: ask for less.`,
    );
  }
  return {
    status: error === undefined ? 'COMPLETED' : 'FAILED',
    ...(output === undefined ? {} : { output }),
    ...(error === undefined ? {} : { error }),
    bytes,
  };
}

/** How large a value is as JSON; null when it cannot be written so. */
export function jsonBytes(value: unknown): number | null {
  try {
    return Buffer.byteLength(JSON.stringify(value) ?? '');
  } catch {
    return null;
  }
}

export function failedOutcome(error: string): Outcome {
  return { status: 'FAILED', error, bytes: Buffer.byteLength(error) };
}
