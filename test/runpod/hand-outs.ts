/** One time that a job was given to a worker. */
export interface HandOut {
  readonly id: string;
  readonly workerId: string;
  /** Seconds, by the platform's clock. */
  readonly t: number;
}

interface Open {
  readonly job: unknown;
  heardAt: number;
}

/**
 * Which jobs are with a worker. One that no ping names for a while is lost: its worker is gone, or has never read the
 * answer that it was in.
 */
export class HandOuts {
  readonly all: HandOut[] = [];
  readonly #open = new Map<string, Open>();

  /** These go to a worker. What has no id nobody can miss. */
  give(items: unknown, workerId: string, t: number): void {
    for (const job of Array.isArray(items) ? items : [items]) {
      const id = (job as { id?: unknown } | null)?.id;
      if (typeof id !== 'string') continue;
      this.all.push({ id, workerId, t });
      this.#open.set(id, { job, heardAt: t });
    }
  }

  /** A worker has named these in a ping. */
  hear(ids: readonly string[], t: number): void {
    for (const id of ids) {
      const open = this.#open.get(id);
      if (open) open.heardAt = t;
    }
  }

  /** There is a result for it. */
  close(id: string): void {
    this.#open.delete(id);
  }

  /** The jobs that nobody has named since then; they are no longer with anybody. */
  takeLost(since: number): unknown[] {
    const lost = [...this.#open].filter(([, { heardAt }]) => heardAt < since);
    for (const [id] of lost) this.#open.delete(id);
    return lost.map(([, { job }]) => job);
  }
}
