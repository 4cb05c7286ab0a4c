/** How many crashes are too many. */
export interface CrashLimits {
  /** So many within the window, or so many in a row without a run that ended well. */
  readonly max: number;
  readonly windowMs: number;
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
  #crashes: number[] = [];
  #pardons = 0;
  #inARow = 0;

  /** @param now milliseconds on a monotonic clock; for tests. */
  constructor(limits: CrashLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
  }

  /** One more crash. @returns whether that was one too many. */
  spend(): boolean {
    if (this.#pardons > 0) this.#pardons -= 1;
    else this.#crashes.push(this.#now());
    this.#inARow += 1;
    return this.spent >= this.#limits.max || this.#inARow >= this.#limits.max;
  }

  /**
   * One crash, perhaps the one to come, was the fault of what was run: it does not count in the window. In a row it does,
   * because on a dead card every image looks guilty.
   */
  forgive(): void {
    if (this.#crashes.pop() === undefined) this.#pardons += 1;
  }

  /** A run has ended well. */
  worked(): void {
    this.#inARow = 0;
  }

  /** How many crashes count in the window. */
  get spent(): number {
    const now = this.#now();
    this.#crashes = this.#crashes.filter((at) => now - at < this.#limits.windowMs);
    return this.#crashes.length;
  }
}
