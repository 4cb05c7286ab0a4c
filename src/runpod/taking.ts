import { pause } from './awake.ts';
import { Backoff } from './backoff.ts';
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
  const { slots, take, accept, timing, observer } = taking;
  const afterFailure = new Backoff(timing.takePace);
  const afterNothing = new Backoff(timing.emptyPace);
  const waitAfter = (taken: Taken): number => {
    if (taken.kind === 'failed') {
      const waitMs = taken.waitMs ?? afterFailure.next();
      observer({ type: 'take-failed', error: taken.error, waitMs });
      return waitMs;
    }
    afterFailure.reset();
    if (taken.kind === 'none' && !taken.held) return afterNothing.next();
    afterNothing.reset();
    return 0;
  };
  for (let wanted = await slots(); wanted > 0; wanted = await slots()) {
    const taken = await take(wanted);
    const waitMs = waitAfter(taken);
    if (taken.kind === 'jobs') accept(taken);
    if (waitMs > 0) await pause(waitMs, signal);
  }
}
