/**
 * Time that the process was awake.
 *
 * FlashBoot freezes a worker between jobs and thaws it later, minutes or hours by any clock. A time-out that
 * counted that would fire at the thaw, before the answer that lies in the socket is read. So time is counted
 * in slices, each by a timer of its own: a freeze falls into one slice, and counts as one.
 */
const SLICE_MS = 1_000;

/**
 * Calls `then` once, after so many milliseconds awake and after the sockets were looked at.
 *
 * @returns takes it back.
 */
export function afterAwake(ms: number, then: () => void): () => void {
  let left = ms;
  let timer: NodeJS.Timeout | undefined;
  let last: NodeJS.Immediate | undefined;
  const next = () => {
    const slice = Math.min(left, SLICE_MS);
    timer = setTimeout(() => {
      left -= slice;
      if (left > 0) next();
      // Node runs timers before it reads from sockets, and immediates after.
      else last = setImmediate(then);
    }, slice);
  };
  next();
  return () => {
    clearTimeout(timer);
    clearImmediate(last);
  };
}

/** Waits so long, or until the signal aborts; never rejects. A frozen process has waited long enough. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const wake = () => resolve();
  signal.addEventListener('abort', wake, { once: true });
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', wake);
  }
}
