import type { RunningJob } from './running-job.ts';

/** The jobs that a worker has, each from when it was taken until it is over. */
export class JobTable {
  readonly #live = new Set<RunningJob>();
  /** The latest of an id: when one that was stopped comes again, the handler of the first may still run. */
  readonly #latest = new Map<string, RunningJob>();

  get size(): number {
    return this.#live.size;
  }

  /** The one that the platform means by this id. */
  get(id: string): RunningJob | undefined {
    return this.#latest.get(id);
  }

  add(job: RunningJob): void {
    this.#live.add(job);
    this.#latest.set(job.id, job);
  }

  remove(job: RunningJob): void {
    this.#live.delete(job);
    if (this.#latest.get(job.id) === job) this.#latest.delete(job.id);
  }

  each(act: (job: RunningJob) => void): void {
    this.#live.forEach(act);
  }

  /** The ids of those whose results the platform still wants. */
  wantedIds(): string[] {
    return [...this.#live].filter((job) => job.isWanted).map((job) => job.id);
  }

  /** Resolves when there is none. */
  async empty(): Promise<void> {
    while (this.#live.size > 0) await Promise.all([...this.#live].map((job) => job.gone));
  }
}
