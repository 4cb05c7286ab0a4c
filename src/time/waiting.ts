import { afterAwake } from './awake.ts';

/** Whether a promise settles, either way, within so many milliseconds awake; it is waited for no longer. */
export async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const stopClock = afterAwake(ms, () => resolve(false));
  const settled = promise.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([settled, late]);
  } finally {
    stopClock();
  }
}

/**
 * Wait for work until a signal aborts; the work itself goes on.
 *
 * @throws what the work throws; what `why` gives when the signal aborts: its reason, unless told otherwise.
 */
export async function unlessAborted<T>(
  work: Promise<T>,
  signal: AbortSignal,
  why: () => unknown = () => signal.reason,
): Promise<T> {
  if (signal.aborted) throw why();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const stop = () => reject(why());
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
