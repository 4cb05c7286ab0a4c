import { pause } from '../time/awake.ts';
import { Backoff } from '../time/backoff.ts';
import type { Observer } from './events.ts';
import type { Timing } from './options.ts';
import type { Taken, TakenJobs } from './take.ts';

interface Taking {
  /** Waits until there is something to ask for. Resolves to how many jobs; 0 when we stop. */
  readonly slots: () => Promise<number>;
  readonly take: (wanted: number) => Promise<Taken>;
  readonly accept: (taken: TakenJobs) => void;
  readonly timing: Timing;
  readonly observer: Observer;
}

/** Asks for jobs whenever there is room for some, until `signal` aborts; the more slowly, the less comes of it. */
export async function keepTaking(taking: Taking, signal: AbortSignal): Promise<void> {
  const { slots, timing } = taking;
  const afterFailure = new Backoff(timing.takePace);
  const afterNothing = new Backoff(timing.emptyPace);
  for (let wanted = await slots(); wanted > 0; wanted = await slots()) {
    const waitMs = await takeOnce(taking, wanted, afterFailure, afterNothing);
    if (waitMs > 0) await pause(waitMs, signal);
  }
}

/**
 * A call of its own, because a loop that waits would keep the last jobs' inputs.
 *
 * @returns how long to wait before the next time.
 */
async function takeOnce(
  { take, accept, observer }: Taking,
  wanted: number,
  afterFailure: Backoff,
  afterNothing: Backoff,
): Promise<number> {
  const taken = await take(wanted);
  if (taken.kind === 'failed') {
    const waitMs = taken.waitMs ?? afterFailure.next();
    observer({ type: 'take-failed', error: taken.error, waitMs });
    return waitMs;
  }
  afterFailure.reset();
  if (taken.kind === 'none' && !taken.held) return afterNothing.next();
  afterNothing.reset();
  if (taken.kind === 'jobs') accept(taken);
  return 0;
}
