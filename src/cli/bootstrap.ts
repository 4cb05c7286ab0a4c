import type { Profile } from '../config.ts';
import { messageOf } from '../errors.ts';
import { roundMs } from '../job/stopwatch.ts';
import { provision, survey } from '../provision/provision.ts';
import type { Made, Observer, StepOutcome } from '../provision/step.ts';
import { STEP_NAMES, type StepName } from '../provision/steps.ts';
import { showProgress } from './progress.ts';
import {
  interruptSignal,
  loadModel,
  openSession,
  type Session,
  type SettingFlags,
} from './session.ts';
import { Terminal, table } from './terminal.ts';
import { describe, measure } from './warmup.ts';

export interface BootstrapFlags extends SettingFlags {
  profile?: Profile;
  prefetch?: boolean;
  warmup: boolean;
  dryRun?: boolean;
  json?: boolean;
}

/**
 * `lotus-worker bootstrap`: make the volume ready, and prove it by loading the model and running it once.
 * Returns the exit code.
 *
 * @throws SetupError, LotusError when the model cannot be had, loaded or run, or `cancelled`.
 */
export async function bootstrap(flags: BootstrapFlags): Promise<number> {
  const steps = stepsFor(flags);
  return await makeReady(flags, steps, async (session, made, signal) =>
    flags.warmup ? await warmUp(session, made, signal) : undefined,
  );
}

/**
 * `lotus-worker prefetch`: download the model, with what downloading needs. Returns the exit code.
 *
 * @throws SetupError, LotusError when the model cannot be had, or `cancelled`.
 */
export async function prefetch(
  flags: SettingFlags & { update?: boolean; dryRun?: boolean; json?: boolean },
): Promise<number> {
  return await makeReady(
    flags,
    ['volume', 'interpreter', 'venv', 'weights'],
    async () => undefined,
  );
}

/** The weights are what a warm-up needs; without either they wait for the first worker. */
function stepsFor({ prefetch, warmup }: BootstrapFlags): StepName[] {
  return STEP_NAMES.filter((name) => name !== 'weights' || prefetch || warmup);
}

interface Flags extends SettingFlags {
  profile?: Profile;
  update?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

type Warmup = Awaited<ReturnType<typeof measure>>;

async function makeReady(
  flags: Flags,
  steps: readonly StepName[],
  prove: (session: Session, made: Made, signal: AbortSignal) => Promise<Warmup | undefined>,
): Promise<number> {
  const terminal = new Terminal();
  const seen: Seen = { steps: [] };
  try {
    const session = await openSession(flags, terminal, { logsSteps: true });
    seen.workspace = session.config.workspace;
    seen.step = 'volume'; // the lock and the room are its
    const result = await run(session, flags, steps, seen, prove);
    if (flags.json) terminal.result(JSON.stringify(result));
    return 0;
  } catch (error) {
    // On standard error it is told by whoever gets it.
    if (flags.json) {
      terminal.result(JSON.stringify({ ready: false, ...seen, error: messageOf(error) }));
    }
    throw error;
  } finally {
    terminal.status('');
  }
}

/** How far it has come. */
interface Seen {
  workspace?: string;
  /** What it is at, or ended at. */
  step?: string;
  steps: StepOutcome[];
}

async function run(
  session: Session,
  { profile, update, dryRun, json }: Flags,
  steps: readonly StepName[],
  seen: Seen,
  prove: (session: Session, made: Made, signal: AbortSignal) => Promise<Warmup | undefined>,
): Promise<object> {
  const { config, env, terminal } = session;
  const { workspace } = config;
  const signal = interruptSignal();
  const observer = show(session, seen);
  const options = { config, env, signal, observer, steps, profile, ...(update && { update }) };
  if (dryRun) {
    const outcomes = await survey(options);
    if (!json) terminal.result(overview(outcomes));
    return { workspace, steps: outcomes };
  }
  const since = performance.now();
  const { outcomes, made } = await provision(options);
  seen.step = 'warmup';
  const warmup = await prove(session, made, signal);
  const total_ms = roundMs(performance.now() - since);
  if (warmup && !json) terminal.result(describe(warmup));
  tell(session, `${workspace} is ready`, { total_ms });
  return { ready: true, workspace, steps: outcomes, warmup, total_ms };
}

async function warmUp(session: Session, made: Made, signal: AbortSignal): Promise<Warmup> {
  tell(session, `loading ${session.config.model.name} and running it once`);
  const model = await loadModel(session, made, signal);
  try {
    return await measure(model, session.config.model.name, signal);
  } finally {
    await model.stop();
  }
}

/** Every step as it ends, and what it says in between: lines for a person, records for a log. */
function show(session: Session, seen: Seen): Observer {
  return {
    said: (step, line) => tell(session, `${step}: ${line}`, { step }),
    progressed: showProgress(session.terminal, (line, step) => tell(session, line, { step })),
    ended: (outcome) => {
      const { name, state, what, ms } = outcome;
      seen.steps.push(outcome);
      session.terminal.status('');
      tell(session, `${name}: ${STATES[state]}${what}`, { step: name, state, ms });
    },
    failed: (step) => {
      seen.step = step;
      session.terminal.status('');
      tell(session, `${step}: failed`, { step, state: 'failed' });
    },
  };
}

const STATES: Record<StepOutcome['state'], string> = {
  ready: '',
  made: 'made: ',
  missing: 'to be made: ',
  skipped: 'skipped: ',
};

function tell(
  { terminal, log }: Session,
  line: string,
  fields: Record<string, string | number> = {},
): void {
  if (!terminal.isInteractive) {
    log.info(fields, line);
    return;
  }
  const ms = Number(fields.ms ?? fields.total_ms ?? 0);
  terminal.note(ms < 1000 ? line : `${line} (${(ms / 1000).toFixed(1)} s)`);
}

function overview(outcomes: readonly StepOutcome[]): string {
  return table(outcomes.map(({ name, state, what }) => [name, state, what]));
}
