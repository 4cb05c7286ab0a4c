import { afterAwake } from '../time/awake.ts';
import type { Observer } from './events.ts';
import type { Outbox, Owed } from './outbox.ts';

/** With so many calls that were waited for in vain and still hang, the next fails without a wait. */
const MAX_HANGING = 16;

/** An outbox that never fails and is never waited for longer than so long. */
export class BoundedOutbox {
  readonly #outbox: Outbox;
  readonly #waitMs: number;
  readonly #observer: Observer;
  /** The last call for each job: those of one job follow each other, however long one takes. */
  readonly #last = new Map<string, Promise<void>>();
  #hanging = 0;
  #lastError = '';

  constructor(outbox: Outbox, waitMs: number, observer: Observer) {
    this.#outbox = outbox;
    this.#waitMs = waitMs;
    this.#observer = observer;
  }

  async keep(jobId: string, output: unknown): Promise<void> {
    await this.#inTurn('keep-failed', jobId, () => this.#outbox.keep({ jobId, output }));
  }

  async forget(jobId: string): Promise<void> {
    await this.#inTurn('forget-failed', jobId, () => this.#outbox.forget(jobId));
  }

  /** A failure that lasts is told once. */
  async owed(): Promise<readonly Owed[]> {
    try {
      const owed = await this.#bounded(() => this.#outbox.owed());
      this.#lastError = '';
      return owed;
    } catch (error) {
      const text = String(error);
      if (text !== this.#lastError)
        this.#observer({ type: 'recover-failed', id: null, error: text });
      this.#lastError = text;
      return [];
    }
  }

  async read(owed: Owed, maxOutputBytes: number): Promise<{ output: unknown } | null> {
    try {
      return await this.#bounded(() => owed.read(maxOutputBytes));
    } catch (error) {
      this.#observer({ type: 'recover-failed', id: owed.jobId, error: String(error) });
      return null;
    }
  }

  async #inTurn(
    type: 'keep-failed' | 'forget-failed',
    id: string,
    call: () => Promise<void>,
  ): Promise<void> {
    const before = this.#last.get(id);
    try {
      await this.#bounded(() => {
        const mine = before ? before.then(call, call) : call();
        this.#last.set(id, mine);
        const over = () => {
          if (this.#last.get(id) === mine) this.#last.delete(id);
        };
        mine.then(over, over);
        return mine;
      });
    } catch (error) {
      this.#observer({ type, id, error: String(error) });
    }
  }

  async #bounded<T>(call: () => Promise<T>): Promise<T> {
    if (this.#hanging >= MAX_HANGING) throw new Error(`${this.#hanging} calls before it hang`);
    const late = Promise.withResolvers<never>();
    const work = call();
    const stopClock = afterAwake(this.#waitMs, () => {
      this.#hanging += 1;
      const answered = () => {
        this.#hanging -= 1;
      };
      work.then(answered, answered);
      late.reject(new Error(`no answer in ${this.#waitMs} ms`));
    });
    try {
      return await Promise.race([work, late.promise]);
    } finally {
      stopClock();
    }
  }
}
