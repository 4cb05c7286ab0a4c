/** So many are remembered, the latest: what a former worker has left comes within half an hour. */
const MAX_KNOWN = 1_000;

/** Remembers which results were delivered, and when. */
export class Delivered {
  /** In milliseconds by the monotonic clock, the latest last. */
  readonly #at = new Map<string, number>();

  add(jobId: string): void {
    this.#at.delete(jobId);
    this.#at.set(jobId, performance.now());
    const [oldest] = this.#at.keys();
    if (this.#at.size > MAX_KNOWN && oldest !== undefined) this.#at.delete(oldest);
  }

  /** Whether one was delivered since something was made that is so old. */
  isSince(jobId: string, ageMs: number): boolean {
    const at = this.#at.get(jobId);
    return at !== undefined && performance.now() - at < ageMs;
  }
}
