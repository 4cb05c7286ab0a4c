import { cancelled, type LotusError } from '../errors.ts';
import type { WaitOptions } from './process.ts';
import type { RunRequest } from './protocol.ts';
import type { Ran, Supervisor } from './supervisor.ts';

/** A run that waits for its turn. */
interface Waiting {
  begin(place: Supervisor): void;
  reject(error: LotusError): void;
}

interface TurnOptions extends WaitOptions {
  isAgain: boolean;
}

export interface Turn extends Ran {
  readonly waitedMs: number;
}

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

  /** Whether any place has a process that is loaded. */
  get isUp(): boolean {
    return this.places.some(({ isUp }) => isUp);
  }

  /** Aborts when every place has given up, with the LotusError of the first as its reason. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Resolves when every place is up or has given up. */
  async settled(): Promise<void> {
    while (this.places.some(({ state }) => state === 'starting')) await this.#changed.promise;
  }

  /**
   * Run one image when it is its turn.
   *
   * @param wait `isAgain`: it has had its turn, and lost it with the process.
   * @throws LotusError as `Supervisor.run` does; `cancelled` while it waits; why all places have given up.
   */
  run(request: Omit<RunRequest, 'type' | 'id'>, wait: TurnOptions): Promise<Turn> {
    const { promise, resolve, reject } = Promise.withResolvers<Turn>();
    const since = performance.now();
    const { signal } = wait;
    const leave = () => {
      this.#waiting = this.#waiting.filter((one) => one !== waiting);
      reject(cancelled());
    };
    const waiting: Waiting = {
      begin: (place) => {
        signal?.removeEventListener('abort', leave);
        const waitedMs = performance.now() - since;
        resolve(place.run(request, wait).then((ran) => ({ ...ran, waitedMs })));
      },
      reject: (error) => {
        signal?.removeEventListener('abort', leave);
        reject(error);
      },
    };
    if (signal?.aborted) {
      leave();
    } else {
      signal?.addEventListener('abort', leave, { once: true });
      if (wait.isAgain) this.#waiting.unshift(waiting);
      else this.#waiting.push(waiting);
      this.#look();
    }
    return promise;
  }

  /** End all processes. What waits is cancelled. */
  async stop(): Promise<void> {
    for (const { reject } of this.#waiting.splice(0)) reject(cancelled());
    await Promise.all(this.places.map((place) => place.stop()));
  }

  #look(): void {
    for (const place of this.places) {
      if (place.isIdle) this.#waiting.shift()?.begin(place);
    }
    const [failure] = this.places.flatMap(({ failure }) => failure ?? []);
    if (failure && this.places.every(({ state }) => state === 'failed')) {
      this.#lost.abort(failure);
      for (const { reject } of this.#waiting.splice(0)) reject(failure);
    }
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
    this.#onChange();
  }
}
