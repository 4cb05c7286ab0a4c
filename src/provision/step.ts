import { SetupError } from '../errors.ts';

/**
 * One step of making a workspace ready: `check -> do -> prove`. Each is idempotent, and leaves either
 * nothing or all of its result: what it makes is built aside and switched to at once.
 */
export interface Step {
  /** One word, for the line that the user sees. */
  readonly name: string;
  /** What is there already, in a few words, or null when there is something to do. Quick. */
  check(): Promise<string | null>;
  /** Do it and prove it; what is there now, in a few words. */
  make(report: Report): Promise<string>;
}

/** Tells the user what is going on, one line at a time. */
export type Report = (line: string) => void;

export interface StepOutcome {
  name: string;
  /** Whether there was anything to do. */
  made: boolean;
  what: string;
  ms: number;
}

/** What the file system refuses is the operator's to mend; everything else says for itself what it is. */
function asSetupError(step: Step, error: unknown): never {
  if (error instanceof Error && 'syscall' in error) {
    throw new SetupError(
      `${step.name}: ${error.message}. Check that WORKSPACE can be written to and has room.`,
      { cause: error },
    );
  }
  throw error;
}

/**
 * Take the steps in their order.
 *
 * @param report is called only for steps that have something to do: a workspace that is ready is silent.
 * @throws SetupError of the step that failed; what the others made stays.
 */
export async function takeSteps(steps: readonly Step[], report: Report): Promise<StepOutcome[]> {
  const outcomes: StepOutcome[] = [];
  for (const step of steps) {
    const since = performance.now();
    const tell: Report = (line) => report(`${step.name}: ${line}`);
    const found = await step.check();
    const what = found ?? (await step.make(tell).catch((error) => asSetupError(step, error)));
    const ms = Math.round(performance.now() - since);
    if (found === null) tell(`${what} (${(ms / 1000).toFixed(1)} s)`);
    outcomes.push({ name: step.name, made: found === null, what, ms });
  }
  return outcomes;
}
