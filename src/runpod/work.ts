import type { Backlog } from './backlog.ts';
import type { Change } from './change.ts';
import type { Observer } from './events.ts';
import type { Job } from './handler.ts';
import type { JobTable } from './job-table.ts';
import type { Owed } from './outbox.ts';
import type { Recovery } from './recovery.ts';
import type { Result } from './result.ts';
import type { RunningJob } from './running-job.ts';
import type { Malformed, TakenJobs } from './take.ts';

interface WorkOptions {
  /** How many handlers may run at once. */
  readonly concurrency: number;
  readonly jobs: JobTable;
  readonly backlog: Backlog;
  readonly changed: Change;
  readonly observer: Observer;
  readonly newJob: (job: Job, owed?: Owed) => RunningJob;
  /** A job asks for a fresh worker. */
  readonly onRefresh: () => void;
  /** The jobs are others now, or their handlers have ended. */
  readonly onChange: () => void;
  /** Runs something whose mistakes are not to end what is under way beside it. */
  readonly guard: (work: () => Promise<void>) => Promise<void>;
}

/** What a worker has taken on: jobs to run, and results to deliver. */
export class Work {
  readonly #options: WorkOptions;
  #concurrency: number;
  /** Jobs that were taken and whose handlers have not ended, and those of them whose handlers run. */
  #unhandled = 0;
  #running = 0;

  constructor(options: WorkOptions) {
    this.#options = options;
    this.#concurrency = checked(options.concurrency);
  }

  /** How many handlers may run at once. */
  set concurrency(concurrency: number) {
    this.#concurrency = checked(concurrency);
  }

  /** How many more jobs could be run. */
  get free(): number {
    return this.#concurrency - this.#unhandled;
  }

  accept({ jobs, malformed }: TakenJobs): void {
    const { jobs: table, observer } = this.#options;
    for (const job of jobs) {
      const same = table.get(job.id);
      if (same?.isWanted) observer({ type: 'duplicate', id: job.id });
      else this.#begin(job, same);
    }
    for (const item of malformed) this.#refuse(item);
  }

  /** Takes on what a former worker has left: there is nothing to run. */
  resume(owed: Owed, recovery: Recovery): void {
    const job = this.#options.newJob({ id: owed.jobId, input: null }, owed);
    void this.#see(job, async () => {
      await recovery.deliver(job, owed, (result) => this.#deliver(job, result));
      return null;
    });
  }

  /** Takes a job on. `before`: the same one, stopped by the platform, of which the handler may still run. */
  #begin(job: Job, before: RunningJob | undefined): void {
    const { newJob, observer, onChange } = this.#options;
    observer({ type: 'taken', id: job.id });
    this.#unhandled += 1;
    const running = newJob(job);
    void this.#see(running, async () => {
      try {
        await before?.gone;
        return await this.#run(running);
      } finally {
        this.#unhandled -= 1;
        onChange();
      }
    });
  }

  /** What cannot be run is answered, if it can be. */
  #refuse({ id, problem }: Malformed): void {
    const { jobs, newJob, observer } = this.#options;
    observer({ type: 'malformed', id, problem });
    if (id === null || jobs.get(id)) return;
    const job = newJob({ id, input: null });
    void this.#see(job, () => job.fail(problem));
  }

  /** Runs the handler when it is the job's turn: the platform may have given more than was asked for. */
  async #run(job: RunningJob): Promise<Result | null> {
    while (this.#running >= this.#concurrency) await this.#options.changed.next;
    this.#running += 1;
    try {
      return await job.run();
    } finally {
      this.#running -= 1;
    }
  }

  /** Sees a job through: `work` gives its result. Never rejects. */
  async #see(job: RunningJob, work: () => Result | null | Promise<Result | null>): Promise<void> {
    const { guard, jobs, onChange } = this.#options;
    jobs.add(job);
    onChange();
    await guard(async () => {
      const result = await work();
      if (result) await this.#deliver(job, result);
    });
    job.end();
    jobs.remove(job);
    onChange();
  }

  async #deliver(job: RunningJob, result: Result): Promise<void> {
    if (result.refresh) this.#options.onRefresh();
    await this.#options.backlog.during(result, job.deliver(result));
  }
}

function checked(concurrency: number): number {
  if (Number.isInteger(concurrency) && concurrency > 0) return concurrency;
  throw new RangeError(`concurrency must be a whole number from 1, not ${concurrency}`);
}
