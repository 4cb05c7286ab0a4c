import { setTimeout as sleep } from 'node:timers/promises';
import type { PlatformScript } from './platform-script.ts';
import type { Random } from './random.ts';
import type { Fault } from './schedule.ts';
import type { SetUp } from './set-up.ts';

/** What faults strike. */
export interface Stage extends SetUp {
  readonly script: PlatformScript;
  readonly random: Random;
  /** Aborts when all is to end. */
  readonly signal: AbortSignal;
}

/** A fault that has struck. */
export interface Strike {
  readonly fault: Fault;
  /** Seconds, by the platform's clock. */
  readonly t: number;
  readonly until: number;
  /** The process that it has struck. */
  readonly pid?: number;
  /** Why it could not strike. */
  readonly missed?: string;
  /** What the worker should have done then, and has not. */
  readonly unmet?: string;
}

export type Outcome = Omit<Strike, 'fault' | 't' | 'until'>;

/** How often we look: nothing here waits for less. */
const LOOK_MS = 20;

/** Waits until it is so, at most so long. @returns whether it is. */
export async function waitFor(
  isSo: () => boolean | Promise<boolean>,
  ms: number,
  signal: AbortSignal,
): Promise<boolean> {
  const end = performance.now() + ms;
  while (!(await isSo())) {
    if (performance.now() > end) return false;
    await sleep(LOOK_MS, undefined, { signal });
  }
  return true;
}
