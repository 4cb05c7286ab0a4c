/** How waits grow from one failure to the next. */
export interface Pace {
  readonly firstMs: number;
  readonly maxMs: number;
}

/**
 * Waits that double with every failure in a row, up to a bound. Half of each is left to chance, so that the
 * workers of an endpoint do not come back all at once after an outage.
 */
export class Backoff {
  readonly #pace: Pace;
  #failures = 0;

  constructor(pace: Pace) {
    this.#pace = pace;
  }

  /** How long to wait after one more failure, in milliseconds. */
  next(): number {
    const full = Math.min(this.#pace.firstMs * 2 ** this.#failures, this.#pace.maxMs);
    this.#failures += 1;
    return full * (0.5 + Math.random() / 2);
  }

  /** It has worked. */
  reset(): void {
    this.#failures = 0;
  }
}
