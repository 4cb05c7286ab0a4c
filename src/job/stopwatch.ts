/** Times the stages of one job, in milliseconds on a monotonic clock. */
export class Stopwatch {
  readonly #start = performance.now();
  readonly #timings: Record<string, number> = {};

  /** Put the stages that somebody else has timed beside its own, or on top of them. */
  add(timings: Readonly<Record<string, number>>): void {
    for (const [stage, ms] of Object.entries(timings)) {
      this.#timings[stage] = (this.#timings[stage] ?? 0) + ms;
    }
  }

  /** Time one stage. */
  async time<T>(stage: string, work: Promise<T>): Promise<T> {
    const since = performance.now();
    try {
      return await work;
    } finally {
      this.#timings[stage] = performance.now() - since;
    }
  }

  /** All stages so far, and the total since the stopwatch was made. */
  timings(): Record<string, number> {
    const all = { ...this.#timings, total: performance.now() - this.#start };
    return Object.fromEntries(Object.entries(all).map(([stage, ms]) => [stage, roundMs(ms)]));
  }
}

/** To the microsecond: more would be noise. */
export function roundMs(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
