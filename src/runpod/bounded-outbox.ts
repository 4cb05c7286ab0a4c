import { Bounded } from '../time/bounded.ts';
import type { Observer } from './events.ts';
import type { Kept, Outbox, Owed } from './outbox.ts';

/** Each call that hangs holds one of the process's threads, by which the platform's name is looked up too. */
const MAX_HANGING = 3;

/** As many as wait to be forgotten: more than are done while a volume hangs. */
const MAX_REFUSED = 10_000;

/** An outbox that never fails and is never waited for longer than so long. */
export class BoundedOutbox {
  readonly #outbox: Outbox;
  readonly #calls: Bounded;
  readonly #observer: Observer;
  /** The last call for each job: those of one job follow each other, however long one takes. */
  readonly #last = new Map<string, Promise<void>>();
  /** What the last look has found, and nobody has had. */
  #found: readonly Owed[] | null = null;
  #isLooking = false;
  /** Jobs to be forgotten once calls answer again. */
  readonly #refused = new Set<string>();
  #lastError = '';

  constructor(outbox: Outbox, waitMs: number, observer: Observer) {
    this.#outbox = outbox;
    this.#calls = new Bounded({ waitMs, maxHanging: MAX_HANGING });
    this.#observer = observer;
  }

  async keep(jobId: string, output: unknown): Promise<void> {
    this.#refused.delete(jobId);
    // A call that hangs is not to hold on to what it was given: the output may be large.
    let kept: Kept | null = { jobId, output };
    await this.#inTurn('keep-failed', jobId, () => {
      const result = kept as Kept;
      kept = null;
      return this.#outbox.keep(result);
    });
  }

  /** One that is refused because too many calls hang is made good when one of them answers. */
  async forget(jobId: string): Promise<void> {
    const forget = () => this.#outbox.forget(jobId);
    const isTaken = await this.#inTurn('forget-failed', jobId, forget);
    if (!isTaken && this.#refused.size < MAX_REFUSED) this.#refused.add(jobId);
  }

  async #forgetRefused(): Promise<void> {
    const ids = [...this.#refused];
    this.#refused.clear();
    for (const id of ids) await this.forget(id);
  }

  /**
   * One look at a time. What one finds that takes too long is for the next call, or no look would ever come to anything
   * on a slow volume. A failure that lasts is told once.
   */
  async owed(): Promise<readonly Owed[]> {
    if (this.#isLooking) return [];
    try {
      const owed = this.#found ?? (await this.#calls.run(() => this.#look()));
      this.#found = null;
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

  async #look(): Promise<readonly Owed[]> {
    this.#isLooking = true;
    try {
      this.#found = await this.#outbox.owed();
      return this.#found;
    } finally {
      this.#isLooking = false;
    }
  }

  async read(owed: Owed, maxOutputBytes: number): Promise<{ output: unknown } | null> {
    try {
      return await this.#calls.run(() => owed.read(maxOutputBytes));
    } catch (error) {
      this.#observer({ type: 'recover-failed', id: owed.jobId, error: String(error) });
      return null;
    }
  }

  /** @returns whether it was, or will be, done: not when too many calls hang. */
  async #inTurn(
    type: 'keep-failed' | 'forget-failed',
    id: string,
    call: () => Promise<void>,
  ): Promise<boolean> {
    const before = this.#last.get(id);
    let isTaken = false;
    try {
      await this.#calls.run(() => {
        isTaken = true;
        const mine = before ? before.then(call, call) : call();
        this.#last.set(id, mine);
        const over = () => {
          if (this.#last.get(id) === mine) this.#last.delete(id);
        };
        // Never rejects. It is no part of the call, which is over by then.
        void mine.then(over, over).then(() => this.#forgetRefused());
        return mine;
      });
    } catch (error) {
      this.#observer({ type, id, error: String(error) });
    }
    return isTaken;
  }
}
