import { MAX_UNDELIVERED, MAX_UNDELIVERED_BYTES, type WorkerOptions } from './options.ts';
import type { Result } from './result.ts';

/** The results that wait to be delivered, all of them in memory. */
export class Backlog {
  readonly #maxResults: number;
  readonly #maxBytes: number;
  #results = 0;
  #bytes = 0;

  constructor({
    maxUndelivered = MAX_UNDELIVERED,
    maxUndeliveredBytes = MAX_UNDELIVERED_BYTES,
  }: Pick<WorkerOptions, 'maxUndelivered' | 'maxUndeliveredBytes'>) {
    this.#maxResults = maxUndelivered;
    this.#maxBytes = maxUndeliveredBytes;
  }

  get size(): { results: number; bytes: number } {
    return { results: this.#results, bytes: this.#bytes };
  }

  /** Whether there are so many that no job should be taken. */
  get isFull(): boolean {
    return this.#results > this.#maxResults || this.#bytes > this.#maxBytes;
  }

  /** Whether half of that room is taken. */
  get isHalfFull(): boolean {
    return this.#results > this.#maxResults / 2 || this.#bytes > this.#maxBytes / 2;
  }

  /** Counts a result in while that lasts. */
  async during(result: Result, delivery: Promise<unknown>): Promise<void> {
    const bytes = result.body.length;
    this.#results += 1;
    this.#bytes += bytes;
    try {
      await delivery;
    } finally {
      this.#results -= 1;
      this.#bytes -= bytes;
    }
  }
}
