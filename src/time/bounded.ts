import { afterAwake } from './awake.ts';

export interface Bounds {
  /** How long a call is waited for, in milliseconds awake. */
  readonly waitMs: number;
  /** With so many that were waited for in vain and still hang, the next fails without a wait. */
  readonly maxHanging: number;
}

/**
 * Calls that may hang, as those to a dead volume do, each of which holds one of the threads that all file calls of the
 * process share.
 */
export class Bounded {
  readonly #bounds: Bounds;
  #hanging = 0;

  constructor(bounds: Bounds) {
    this.#bounds = bounds;
  }

  /** How many calls were waited for in vain and have not ended. */
  get hanging(): number {
    return this.#hanging;
  }

  /**
   * Wait for a call, but not for ever.
   *
   * @param signal gives the wait up, as the time does.
   * @throws what the call throws; Error that says that it hangs.
   */
  async run<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { waitMs, maxHanging } = this.#bounds;
    if (this.#hanging >= maxHanging) throw new Error(`${this.#hanging} calls before it hang`);
    const late = Promise.withResolvers<never>();
    const work = call();
    const leave = (why: string) => {
      this.#hanging += 1;
      const answered = () => {
        this.#hanging -= 1;
      };
      work.then(answered, answered);
      late.reject(new Error(why));
    };
    const unwanted = () => leave('nobody waits for it any more');
    const stopClock = afterAwake(waitMs, () => leave(`no answer in ${waitMs / 1000} s`));
    if (signal?.aborted) unwanted();
    signal?.addEventListener('abort', unwanted, { once: true });
    try {
      return await Promise.race([work, late.promise]);
    } finally {
      stopClock();
      signal?.removeEventListener('abort', unwanted);
    }
  }
}
