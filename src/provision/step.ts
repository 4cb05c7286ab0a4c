import { isCancelled, messageOf, SetupError } from '../errors.ts';
import type { Installation } from '../installation.ts';

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
   * @param made what the steps before have given.
   */
  check(made: Made): Promise<Ready | Missing>;
  /** Make it and prove it. Called under the workspace's lock. */
  make(made: Made, report: Report): Promise<Ready>;
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
}

/** There is something to do. */
export interface Missing {
  readonly state: 'missing';
  /** What would be made, in a few words. */
  readonly what: string;
  /** How much room that takes in the workspace, about. */
  readonly bytes: number;
}

/** Where things are, as the steps give it. */
export interface Made extends Installation {
  /** A Python that runs here: no shim, no link. */
  interpreter: string;
}

/** Tells the user what is going on, one line at a time. */
export type Report = (line: string) => void;

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
  ended?(outcome: StepOutcome): void;
}

/** What was seen of a step when it was checked. */
export interface Checked {
  step: Step;
  found: Ready | Missing;
  ms: number;
}

export function ready(what: string, gives: Partial<Made> = {}): Ready {
  return { state: 'ready', what, gives };
}

export function missing(what: string, bytes = 0): Missing {
  return { state: 'missing', what, bytes };
}

/**
 * Look at every step without changing anything.
 *
 * @throws SetupError of a step that cannot be made at all.
 */
export async function checkSteps(
  steps: readonly Step[],
): Promise<{ checked: Checked[]; made: Partial<Made> }> {
  const made: Partial<Made> = {};
  const checked: Checked[] = [];
  for (const step of steps) {
    const since = performance.now();
    const found = await step.check(made as Made).catch((error) => asSetupError(step.name, error));
    if (found.state === 'ready') Object.assign(made, found.gives);
    checked.push({ step, found, ms: performance.now() - since });
  }
  return { checked, made };
}

/**
 * Take the steps in their order: check each once more, for another may have made it in the meantime, and make
 * what is missing.
 *
 * @throws SetupError of the step that failed; what the others made stays.
 */
export async function makeSteps(
  steps: readonly Step[],
  observer: Observer,
): Promise<{ outcomes: StepOutcome[]; made: Made }> {
  const made = {} as Made; // filled by the steps, each before the ones that read it
  const outcomes: StepOutcome[] = [];
  for (const step of steps) {
    observer.began?.(step.name);
    const since = performance.now();
    const { outcome, gives } = await takeStep(step, made, observer);
    Object.assign(made, gives);
    outcomes.push({ name: step.name, ...outcome, ms: Math.round(performance.now() - since) });
    observer.ended?.(outcomes.at(-1) as StepOutcome);
  }
  return { outcomes, made };
}

async function takeStep(step: Step, made: Made, observer: Observer) {
  const say: Report = (line) => observer.said?.(step.name, line);
  try {
    const found = await step.check(made);
    if (found.state === 'ready') {
      return { outcome: { state: 'ready' as const, what: found.what }, gives: found.gives };
    }
    const { what, gives } = await step.make(made, say);
    return { outcome: { state: 'made' as const, what }, gives };
  } catch (error) {
    if (!step.optional || isCancelled(error)) asSetupError(step.name, error);
    return { outcome: { state: 'skipped' as const, what: messageOf(error) }, gives: {} };
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
