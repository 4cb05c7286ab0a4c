/** How many crashes are too many. */
export interface CrashLimits {
  /** So many within the window, or so many in a row without a run that ended well. */
  readonly max: number;
  readonly windowMs: number;
}

/** A process that ended though nobody wanted it to. */
export interface Crash {
  /** It was the fault of what was run: it counts in a row alone, because on a dead card every image looks guilty. */
  isForgiven: boolean;
}

/**
 * Counts crashes, and says when there is no use in going on.
 *
 * The window alone would not do: a process that takes minutes to load and then dies never has many crashes in one. Nor
 * would those in a row: one that dies on every other image costs each caller a restart.
 */
export class CrashBudget {
  readonly #limits: CrashLimits;
  readonly #now: () => number;
  #crashes: { readonly crash: Crash; readonly at: number }[] = [];
  #inARow = 0;

  /** @param now milliseconds on a monotonic clock; for tests. */
  constructor(limits: CrashLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
  }

  spend(crash: Crash): void {
    const now = this.#now();
    this.#crashes = this.#crashes.filter(({ at }) => now - at < this.#limits.windowMs);
    this.#crashes.push({ crash, at: now });
    this.#inARow += 1;
  }

  /** A run has ended well. */
  worked(): void {
    this.#inARow = 0;
  }

  /** What there was too much of, in words; null when there is use in going on. */
  get excess(): string | null {
    const { max, windowMs } = this.#limits;
    const inWindow = this.#crashes.filter(({ crash }) => !crash.isForgiven).length;
    if (this.#inARow >= max) return `${this.#inARow} in a row`;
    return inWindow >= max ? `${inWindow} in ${windowMs / 1000} s` : null;
  }
}
