import { cancelled } from '../errors.ts';

/** A number of places, taken one by one in the order of asking. */
export class Places {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(count: number) {
    this.#free = count;
  }

  /**
   * Take a place for a piece of work, when there is one, and keep it until the work has ended.
   *
   * @param signal ends the waiting; the work has to listen for itself.
   * @throws LotusError `cancelled`, and the work was not begun; whatever the work throws.
   */
  async during<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.#take(signal);
    try {
      return await work();
    } finally {
      this.#give();
    }
  }

  async #take(signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) throw cancelled();
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const giveUp = () => {
      // One that has been given its place takes it, and gives it back.
      if (this.#waiting.delete(resolve)) reject(cancelled());
    };
    this.#waiting.add(resolve);
    signal?.addEventListener('abort', giveUp, { once: true });
    try {
      await promise;
    } finally {
      signal?.removeEventListener('abort', giveUp);
    }
  }

  /** To whom has waited longest; the place was never free. */
  #give(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
