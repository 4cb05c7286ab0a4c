/**
 * How long something may take, beside a signal that may end it before. Dispose of it when that is done.
 *
 * Not AbortSignal.any(): of one that has a time-out in it and goes into another, as here for a fetch, its connection and
 * each address, Node.js 24 never lets go.
 */
export class TimeLimit implements Disposable {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #outer: AbortSignal | undefined;
  #isOver = false;

  /** @param outer aborts this one too, with its reason. */
  constructor(ms: number, outer?: AbortSignal) {
    this.#outer = outer;
    this.#timer = setTimeout(() => {
      this.#isOver = true;
      this.#controller.abort(new DOMException(`took longer than ${ms} ms`, 'TimeoutError'));
    }, ms);
    outer?.addEventListener('abort', this.#follow, { once: true });
    if (outer?.aborted) this.#follow();
  }

  /** Aborts when the time is over, or with the outer signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether the time is over, and that came first. */
  get isOver(): boolean {
    return this.#isOver;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener('abort', this.#follow);
  }

  readonly #follow = (): void => {
    clearTimeout(this.#timer);
    this.#controller.abort(this.#outer?.reason);
  };
}
