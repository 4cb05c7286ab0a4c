import type { Fault as Answer } from '../test/runpod/platform.ts';
import type { Random } from './random.ts';
import type { PlatformFault } from './schedule.ts';

type Misbehaviour = Exclude<PlatformFault['what'], 'outage'>;
type Of = PlatformFault['of'];

/** What the platform does in place of its work, as long as it is told to. */
export class PlatformScript {
  readonly #random: Random;
  #now: { what: Misbehaviour; of: Of; percent: number } | null = null;

  constructor(random: Random) {
    this.#random = random;
  }

  /** So many of a hundred requests get that from now on. */
  begin(what: Misbehaviour, of: Of, percent = 100): void {
    this.#now = { what, of, percent };
  }

  end(): void {
    this.#now = null;
  }

  /** What a request gets; takes and results alone are spoilt. */
  faultFor(kind: string): Answer | undefined {
    if (!this.#now) return;
    const { what, of, percent } = this.#now;
    const side = kind.startsWith('job-take') ? 'takes' : kind === 'job-done' ? 'posts' : null;
    if (side === null || (of !== 'both' && of !== side) || !this.#random.chance(percent)) return;
    return this.#answer(what);
  }

  #answer(what: Misbehaviour): Answer {
    switch (what) {
      case 'errors':
        return this.#random.pick([500, 502, 503]);
      case 'slow':
        return 'slow';
      case 'drop':
        return 'drop-before';
      case 'lose':
        return 'lose-answer';
      case 'limit':
        return { status: 429, headers: { 'retry-after': '1' } };
    }
  }
}
