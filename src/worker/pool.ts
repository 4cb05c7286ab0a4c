import { cancelled, type LotusError } from '../errors.ts';
import { afterAwake } from '../time/awake.ts';
import type { RunRequest } from './protocol.ts';
import type { Ran, RunOptions, Supervisor } from './supervisor.ts';

export interface TurnOptions extends RunOptions {
  /** It has had its turn, and lost it with the process: it is before those that have not. */
  readonly isAgain: boolean;
  /** Looked at when it is its turn: throws when it is not to be run after all. */
  admit(): void;
}

export interface Turn extends Ran {
  readonly waitedMs: number;
}

/** A run that waits for its turn. */
interface Waiting {
  readonly isAgain: boolean;
  begin(place: Supervisor): void;
  reject(error: LotusError): void;
}

/** Those that are slower are waited for as long again as the first has taken, and at least this long. */
const STRAGGLERS_MS = 10_000;

/** Gives runs to the places that are idle, in the order in which they came. */
export class Pool {
  readonly places: readonly Supervisor[];
  readonly #lost = new AbortController();
  readonly #onChange: () => void;
  #waiting: Waiting[] = [];
  #changed = Promise.withResolvers<void>();

  /**
   * @param make makes the places, each of which says when it has changed.
   * @param onChange is told after that.
   */
  constructor(make: (changed: () => void) => readonly Supervisor[], onChange: () => void) {
    this.#onChange = onChange;
    // They begin at once, and may have something to say before they are all there.
    this.places = make(() => queueMicrotask(() => this.#look()));
  }

  /** How many places have a process that runs images. */
  get up(): number {
    return this.places.filter(({ isUp }) => isUp).length;
  }

  /** What a place has failed by, the first of those that have. */
  get failure(): LotusError | undefined {
    return this.places.flatMap(({ failure }) => failure ?? [])[0];
  }

  /** Aborts when every place has given up, with the LotusError of the first as its reason. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /**
   * Resolves when every place is up, or was not at its first try; one that hangs is not waited for much longer than the
   * first has taken.
   */
  async settled(): Promise<void> {
    const since = performance.now();
    let isOver = false;
    let stopClock: (() => void) | undefined;
    while (!isOver && this.places.some(({ state }) => state === 'starting')) {
      if (this.up > 0) {
        stopClock ??= afterAwake(Math.max(performance.now() - since, STRAGGLERS_MS), () => {
          isOver = true;
          this.#look();
        });
      }
      await this.#changed.promise;
    }
    stopClock?.();
  }

  /**
   * Run one image when it is its turn.
   *
   * @throws LotusError as `Supervisor.run` does; `cancelled` while it waits; why all places have given up; what `admit`
   *   throws.
   */
  run(request: Omit<RunRequest, 'type' | 'id'>, wait: TurnOptions): Promise<Turn> {
    const { promise, resolve, reject } = Promise.withResolvers<Turn>();
    const since = performance.now();
    const { signal, isAgain } = wait;
    const leave = () => {
      this.#waiting = this.#waiting.filter((one) => one !== waiting);
      reject(cancelled());
    };
    const settle = (end: () => void) => {
      signal?.removeEventListener('abort', leave);
      try {
        end();
      } catch (error) {
        reject(error);
      }
    };
    const waiting: Waiting = {
      isAgain,
      begin: (place) =>
        settle(() => {
          wait.admit();
          const waitedMs = performance.now() - since;
          resolve(place.run(request, wait).then((ran) => ({ ...ran, waitedMs })));
        }),
      reject: (error) => settle(() => reject(error)),
    };
    if (signal?.aborted) {
      leave();
    } else {
      signal?.addEventListener('abort', leave, { once: true });
      this.#enqueue(waiting);
      this.#look();
    }
    return promise;
  }

  /** End all processes. What waits is cancelled. */
  async stop(): Promise<void> {
    for (const { reject } of this.#waiting.splice(0)) reject(cancelled());
    await Promise.all(this.places.map((place) => place.stop()));
  }

  #enqueue(waiting: Waiting): void {
    const first = waiting.isAgain ? this.#waiting.findIndex(({ isAgain }) => !isAgain) : -1;
    this.#waiting.splice(first < 0 ? this.#waiting.length : first, 0, waiting);
  }

  #look(): void {
    for (const place of this.places) {
      while (place.isIdle && this.#waiting.length > 0) this.#waiting.shift()?.begin(place);
    }
    const { failure } = this;
    if (failure && this.places.every(({ state }) => state === 'failed')) {
      this.#lost.abort(failure);
      for (const { reject } of this.#waiting.splice(0)) reject(failure);
    }
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
    this.#onChange();
  }
}
