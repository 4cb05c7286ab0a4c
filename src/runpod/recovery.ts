import { pause } from '../time/awake.ts';
import type { Backlog } from './backlog.ts';
import type { BoundedOutbox } from './bounded-outbox.ts';
import type { Change } from './change.ts';
import type { Delivered } from './delivered.ts';
import type { Observer } from './events.ts';
import { isUsableId } from './job-id.ts';
import type { JobTable } from './job-table.ts';
import { bodyLimit, ENVELOPE_BYTES, type Limits, type Timing } from './options.ts';
import type { Owed } from './outbox.ts';
import type { Result } from './result.ts';
import type { RunningJob } from './running-job.ts';

/** Jobs of former workers that are taken on at once: each is in every ping, whose URL has an end. */
const MAX_JOBS = 100;

interface RecoveryOptions {
  readonly outbox: BoundedOutbox;
  readonly jobs: JobTable;
  /** What this worker itself has delivered. */
  readonly delivered: Delivered;
  readonly backlog: Backlog;
  readonly changed: Change;
  readonly limits: Limits;
  readonly timing: Timing;
  readonly observer: Observer;
  /** No more results are taken over. */
  readonly stopping: AbortSignal;
  /** Takes a job on of which the result is there. */
  readonly begin: (owed: Owed) => void;
}

/** Has what former workers have left delivered as if it were our own, while the platform would take it. */
export class Recovery {
  readonly #options: RecoveryOptions;
  /** Resolves when the last of those that wait has had its turn. */
  #turn: Promise<void> = Promise.resolve();

  constructor(options: RecoveryOptions) {
    this.#options = options;
  }

  /** Looks again and again, until we stop. */
  async keepLooking(): Promise<void> {
    const { stopping, timing } = this.#options;
    while (!stopping.aborted) {
      await pause(timing.recoverMs, stopping);
      await this.look();
    }
  }

  /** Takes on what there is. */
  async look(): Promise<void> {
    const { delivered, jobs, outbox, stopping, timing } = this.#options;
    if (stopping.aborted) return;
    for (const owed of await outbox.owed()) {
      if (stopping.aborted || jobs.size >= MAX_JOBS) return;
      if (jobs.get(owed.jobId)) continue; // it is in hand, and forgotten with that, unless that is abandoned
      if (delivered.isSince(owed.jobId, owed.ageMs)) await this.#drop('superseded', owed);
      else if (owed.ageMs < timing.deliverMs) this.#begin(owed);
      else await this.#drop('expired', owed);
    }
  }

  /**
   * Reads a result when it is its turn, and delivers it. All of them may be large: they are read one after the other,
   * and while less than half of the backlog's room is taken, so that our own jobs go on.
   *
   * @param deliver counts the result in the backlog at once.
   */
  async deliver(
    job: RunningJob,
    owed: Owed,
    deliver: (result: Result) => Promise<void>,
  ): Promise<void> {
    const before = this.#turn;
    const { promise, resolve: next } = Promise.withResolvers<void>();
    this.#turn = promise;
    let delivered: Promise<void> | undefined;
    try {
      await before;
      const result = await this.#read(job, owed);
      if (result) delivered = deliver(result);
    } finally {
      next();
    }
    await delivered;
  }

  /** @returns null when it is not to be delivered, or not by us. */
  async #read(job: RunningJob, owed: Owed): Promise<Result | null> {
    const { backlog, changed, limits, outbox, stopping } = this.#options;
    while (backlog.isHalfFull && job.isWanted && !stopping.aborted) await changed.next;
    if (!job.isWanted) {
      await outbox.forget(job.id);
      return null;
    }
    if (stopping.aborted) return null; // whoever comes after us finds it
    const kept = await outbox.read(owed, bodyLimit(job.id, limits) - ENVELOPE_BYTES);
    return kept && job.resume(owed, kept.output);
  }

  /** One that cannot be taken on is told, and in nobody else's way. */
  #begin(owed: Owed): void {
    const { begin, observer } = this.#options;
    try {
      if (!isUsableId(owed.jobId)) throw new Error('nothing can be posted for such an id');
      begin(owed);
    } catch (error) {
      observer({ type: 'recover-failed', id: owed.jobId, error: String(error) });
    }
  }

  async #drop(type: 'expired' | 'superseded', { jobId, workerId, ageMs }: Owed): Promise<void> {
    const { observer, outbox } = this.#options;
    const what = { id: jobId, worker: workerId, ageMs };
    if (type === 'expired') observer({ type, ...what, mayHaveArrived: true });
    else observer({ type, ...what });
    await outbox.forget(jobId);
  }
}
