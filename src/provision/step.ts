import { isCancelled, messageOf, SetupError } from '../errors.ts';
import type { Installation } from '../installation.ts';
import type { Room } from './room.ts';

/**
 * One step of making a workspace ready: `check -> make`, and make proves what it made. Each is idempotent, and
 * leaves either nothing or all of its result: what it makes is built aside and switched to at once.
 */
export interface Step {
  /** One word, for the line that the user sees. */
  readonly name: string;
  /**
   * What is there already, or what is to be made. Quick, and changes nothing.
   *
   * @param made what the steps before have given, as far as they are ready. What needs more than that is missing.
   */
  check(made: Made): Promise<Found>;
  /**
   * Make it and prove it. Called under the workspace's lock, for what was missing there; what the steps before have
   * made since may show that it is there after all.
   */
  make(made: Made, report: Report, progress: Progress): Promise<Ready>;
  /** Whether life goes on without it: its failure is told, and is not the end. */
  readonly optional?: boolean;
}

/** It is there. */
export interface Ready {
  readonly state: 'ready';
  /** What is there, in a few words. */
  readonly what: string;
  /** What the steps after it, and the model process, get to know. */
  readonly gives?: Partial<Made>;
  /** Writes down what was found, when it is used; nothing is lost where that cannot be. */
  readonly remember?: () => Promise<void>;
}

/** There is something to do. */
export interface Missing {
  readonly state: 'missing';
  /** What would be made, in a few words. */
  readonly what: string;
  /** The room that it takes; a number: about so many bytes in the workspace. */
  readonly needs: number | readonly Room[];
}

/** It is optional, and cannot be had: life goes on without it. */
export interface Skipped {
  readonly state: 'skipped';
  /** Why, in a few words. */
  readonly what: string;
}

export type Found = Ready | Missing | Skipped;

/** Where things are, as the steps give it. */
export interface Made extends Installation {
  /** A Python that runs here: no shim, no link. */
  interpreter: string;
}

/** Tells the user what is going on, one line at a time. */
export type Report = (line: string) => void;

/** Tells the user how far something long has come, in bytes, as often as it likes. */
export type Progress = (doing: string, done: number, total: number) => void;

export interface StepOutcome {
  name: string;
  /** ready: it was there. made: it was made. missing: it would be made. skipped: optional, and it failed. */
  state: 'ready' | 'made' | 'missing' | 'skipped';
  what: string;
  ms: number;
}

/** Sees every step as it ends, and what it says in between. */
export interface Observer {
  began?(name: string): void;
  said?(name: string, line: string): void;
  progressed?(name: string, ...progress: Parameters<Progress>): void;
  ended?(outcome: StepOutcome): void;
  /** It was the end of all: what is thrown says why. */
  failed?(name: string): void;
}

/** What was seen of a step when it was checked. */
export interface Checked {
  step: Step;
  found: Found;
  ms: number;
}

/** What there is when no step has given anything. */
const NOTHING: Partial<Made> = { flashAttn: null };

export function ready(what: string, gives: Partial<Made> = {}): Ready {
  return { state: 'ready', what, gives };
}

export function missing(what: string, needs: Missing['needs'] = 0): Missing {
  return { state: 'missing', what, needs };
}

export function skipped(why: string): Skipped {
  return { state: 'skipped', what: why };
}

/**
 * Look at every step without changing anything.
 *
 * @throws SetupError of a step that cannot be made at all.
 */
export async function checkSteps(
  steps: readonly Step[],
  observer: Observer = {},
): Promise<{ checked: Checked[]; made: Partial<Made> }> {
  const made: Partial<Made> = { ...NOTHING };
  const checked: Checked[] = [];
  for (const step of steps) {
    const since = performance.now();
    const found = await step
      .check(made as Made)
      .catch((error) => skipOrFail(step, error, observer));
    if (found.state === 'ready') Object.assign(made, found.gives);
    checked.push({ step, found, ms: performance.now() - since });
  }
  return { checked, made };
}

/**
 * Look at every step, and then make what is missing, in their order.
 *
 * @param prepare gets to know what was found, before anything is made, and says what is to be made of it.
 * @throws SetupError of the step that failed; what the others made stays.
 */
export async function makeSteps(
  steps: readonly Step[],
  observer: Observer,
  prepare?: (checked: readonly Checked[]) => Promise<readonly Checked[]>,
): Promise<{ outcomes: StepOutcome[]; made: Made }> {
  const { checked } = await checkSteps(steps, observer);
  const prepared = (await prepare?.(checked)) ?? checked;
  const made = { ...NOTHING } as Made; // filled by the steps, each before the ones that read it
  const outcomes: StepOutcome[] = [];
  for (const one of prepared) {
    observer.began?.(one.step.name);
    const { outcome, gives } = await settle(one, made, observer);
    Object.assign(made, gives);
    outcomes.push(outcome);
    observer.ended?.(outcome);
  }
  return { outcomes, made };
}

/** How a step that is not made ended, or would. */
export function outcomeOf({ step, found, ms }: Checked): StepOutcome {
  return { name: step.name, state: found.state, what: found.what, ms: Math.round(ms) };
}

/** Make a step if it is missing. */
async function settle(one: Checked, made: Made, observer: Observer) {
  const { step, found, ms } = one;
  const say: Report = (line) => observer.said?.(step.name, line);
  const gives = found.state === 'ready' ? found.gives : {};
  if (found.state !== 'missing') {
    await remember(found, say);
    return { outcome: outcomeOf(one), gives };
  }
  const since = performance.now() - ms;
  const progress: Progress = (...at) => observer.progressed?.(step.name, ...at);
  const done = await step
    .make(made, say, progress)
    .catch((error) => skipOrFail(step, error, observer));
  const state = done.state === 'ready' ? ('made' as const) : done.state;
  const took = Math.round(performance.now() - since);
  return {
    outcome: { name: step.name, state, what: done.what, ms: took },
    gives: done.state === 'ready' ? done.gives : {},
  };
}

/** What the failure of a step means: that it is skipped, or the end. */
function skipOrFail(step: Step, error: unknown, observer: Observer): Skipped {
  if (step.optional && !isCancelled(error)) return skipped(messageOf(error));
  observer.failed?.(step.name);
  asSetupError(step.name, error);
}

/** Whether the file system has refused to write: it is read-only, full, or somebody else's. */
export function isRefusal(error: unknown): boolean {
  const refusals = ['EROFS', 'EACCES', 'EPERM', 'ENOSPC', 'EDQUOT'];
  return error instanceof Error && 'code' in error && refusals.includes(String(error.code));
}

/** Let a step write down what it found. On a read-only volume it cannot, and serves all the same. */
export async function remember(found: Found, say: Report): Promise<void> {
  if (found.state !== 'ready') return;
  try {
    await found.remember?.();
  } catch (error) {
    say(`what was found could not be written down: ${messageOf(error)}`);
  }
}

/** What the file system refuses is the operator's to mend; everything else says for itself what it is. */
export function asSetupError(step: string, error: unknown): never {
  const code = error instanceof Error && 'syscall' in error && 'code' in error ? error.code : null;
  if (code !== null) {
    throw new SetupError(`${step}: ${messageOf(error)}. ${adviceOn(code)}`, { cause: error });
  }
  throw error;
}

function adviceOn(code: unknown): string {
  switch (code) {
    case 'EROFS':
      return 'The workspace is mounted read-only: prepare it where it can be written to, or set WORKSPACE.';
    case 'ENOSPC':
    case 'EDQUOT':
      return 'The workspace is full: free some room, or set WORKSPACE to a larger volume.';
    case 'EACCES':
    case 'EPERM':
      return 'This user may not write there: run it as the owner of the workspace, or set WORKSPACE.';
    default:
      return 'Check that WORKSPACE can be written to and has room.';
  }
}
