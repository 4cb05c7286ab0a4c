/** Something that changes, for those who wait until it is as they want it: each looks again at every change. */
export class Change {
  #next = Promise.withResolvers<void>();

  /** Resolves at the next one. */
  get next(): Promise<void> {
    return this.#next.promise;
  }

  notify(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }
}
