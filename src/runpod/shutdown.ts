import { afterAwake } from '../time/awake.ts';
import type { JobTable } from './job-table.ts';
import type { Timing } from './options.ts';

/** A worker's end: what is still waited for once it has begun, and for how long. */
export class Shutdown {
  readonly #timing: Timing;
  readonly #jobs: JobTable;
  readonly #stopping = new AbortController();
  readonly #giveUpTake = new AbortController();
  /** Each is stopped by a call. */
  readonly #clocks: (() => void)[] = [];
  #isGraceOver = false;

  /** @param jobs those that are to end. */
  constructor(timing: Timing, jobs: JobTable) {
    this.#timing = timing;
    this.#jobs = jobs;
  }

  /** No job is asked for any more. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** The last request for jobs is waited for no longer. */
  get giveUpTake(): AbortSignal {
    return this.#giveUpTake.signal;
  }

  begin(): void {
    this.#stopping.abort();
    const { lastTakeMs, graceMs } = this.#timing;
    this.#clocks.push(
      afterAwake(lastTakeMs, () => this.#giveUpTake.abort()),
      afterAwake(graceMs, () => this.#cutShort()),
    );
  }

  /** What the last request for jobs has brought gets no more grace than the others. */
  lastJobsTaken(): void {
    if (this.#isGraceOver) this.#cutShort();
  }

  close(): void {
    for (const stop of this.#clocks) stop();
  }

  /** The grace time is over. */
  #cutShort(): void {
    this.#isGraceOver = true;
    this.#jobs.each((job) => job.abort('shutdown'));
    const { abortMs } = this.#timing;
    this.#clocks.push(afterAwake(abortMs, () => this.#jobs.each((job) => job.abandon())));
  }
}
