import { messageOf } from '../errors.ts';
import { roundMs } from '../job/stopwatch.ts';
import { provision, survey } from '../provision/provision.ts';
import type { Made, Observer, StepOutcome } from '../provision/step.ts';
import { STEP_NAMES, type StepName } from '../provision/steps.ts';
import type { Profile } from '../settings.ts';
import { type ServeFlags, serve } from './serve.ts';
import {
  interruptSignal,
  loadModel,
  openSession,
  type Session,
  type SettingFlags,
} from './session.ts';
import { showSteps, tell } from './steps.ts';
import { Terminal, table } from './terminal.ts';
import { describe, measure } from './warmup.ts';

export interface BootstrapFlags extends ServeFlags {
  profile?: Profile;
  prefetch?: boolean;
  /** Go on and serve, with the process that was warmed up. */
  serve?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

/**
 * `lotus-worker bootstrap`: make the volume ready, and prove it by loading the model and running it once; with
 * `--serve`, serve from there. Returns the exit code.
 *
 * @throws SetupError, LotusError when the model cannot be had, loaded or run, or `cancelled`.
 */
export async function bootstrap(flags: BootstrapFlags): Promise<number> {
  if (flags.serve) return await serve(flags, STEP_NAMES);
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
  const observer = watch(session, seen);
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
  const model = await loadModel(session, made, signal, 1);
  try {
    return await measure(model, session.config.model, signal);
  } finally {
    await model.stop();
  }
}

/** As it is shown, and kept for what is told at the end. */
function watch(session: Session, seen: Seen): Observer {
  const shown = showSteps(session);
  return {
    ...shown,
    ended: (outcome) => {
      seen.steps.push(outcome);
      shown.ended?.(outcome);
    },
    failed: (step) => {
      seen.step = step;
      shown.failed?.(step);
    },
  };
}

function overview(outcomes: readonly StepOutcome[]): string {
  return table(outcomes.map(({ name, state, what }) => [name, state, what]));
}
