import type { Environment } from '../config.ts';
import { LotusError } from '../errors.ts';
import { FOR_THE_MODEL, type StepName } from '../provision/steps.ts';
import { chooseMode, type ServeFlags as ModeFlags } from '../serve/mode.ts';
import { serveJobs } from '../serve/serve.ts';
import type { Profile } from '../settings.ts';
import type { Model } from '../worker/model.ts';
import {
  interruptSignal,
  openSession,
  type Session,
  type SettingFlags,
  startModel,
} from './session.ts';
import { showSteps } from './steps.ts';
import { Terminal } from './terminal.ts';
import { measure } from './warmup.ts';

export interface ServeFlags extends Omit<SettingFlags, 'settings'>, ModeFlags {
  warmup: boolean;
  profile?: Profile;
  rp_log_level?: string;
  rp_debugger?: boolean;
  rp_api_concurrency?: number;
}

/**
 * `lotus-worker serve`: jobs from RunPod's queue, from `test_input.json`, or by the local API.
 *
 * @param steps what is made ready first, where it is not.
 * @returns the exit code: 0 when told to end, 1 when the model was lost or a test job failed.
 * @throws UsageError, SetupError, or LotusError when the model cannot be had.
 */
export async function serve(
  flags: ServeFlags,
  steps: readonly StepName[] = FOR_THE_MODEL,
): Promise<number> {
  const settings = settingsOf(flags);
  const session = await openSession({ ...flags, settings }, new Terminal());
  const mode = await chooseMode(flags, session.env, process.cwd());
  const signal = interruptSignal();
  const preparation = { observer: showSteps(session), steps, profile: flags.profile };
  try {
    return await serveJobs(mode, {
      ...session,
      signal,
      start: () => startModel(session, signal, preparation),
      warm: (model) => (flags.warmup ? warm(session, model, signal) : Promise.resolve()),
      print: (line) => session.terminal.result(line),
    });
  } finally {
    endForCertain(session);
  }
}

/** How long what hangs may hold up the end, in milliseconds: less than a container has after SIGTERM. */
const END_MS = 5_000;

/**
 * At its end Node waits for every file call, also for one on a dead volume that never comes back. Where there is none
 * the process has ended long before this.
 */
function endForCertain({ log }: Session): void {
  const end = () => {
    log.error('the end is held up by file calls that hang, as on a dead volume: killed');
    process.kill(process.pid, 'SIGKILL');
  };
  setTimeout(end, END_MS).unref();
}

/** The settings that the official SDK's flags stand for. A server tells what it does unless it is told not to. */
function settingsOf({ rp_log_level, rp_debugger, rp_api_concurrency }: ServeFlags): Environment {
  const level = rp_debugger ? 'debug' : rp_log_level?.toLowerCase();
  return {
    LOTUS_LOG_LEVEL: level ?? (process.env.LOTUS_LOG_LEVEL || 'info'),
    ...(rp_api_concurrency !== undefined && { LOTUS_CONCURRENCY: String(rp_api_concurrency) }),
  };
}

/**
 * Run the model as often at the same time as it has processes, so that the first job need not wait for what a first run
 * costs, and no job meets a model that cannot run.
 */
export async function warm(session: Session, model: Model, signal: AbortSignal): Promise<void> {
  await Promise.all(Array.from({ length: model.up }, () => warmOnce(session, model, signal)));
}

async function warmOnce(
  { config, log }: Session,
  model: Model,
  signal: AbortSignal,
): Promise<void> {
  try {
    const { run, start_ms } = await measure(model, config.model, signal);
    log.info({ start_ms, run_ms: run.timings_ms }, 'warmed up');
  } catch (error) {
    // A smaller image may well run. What fails otherwise fails for every job: such a worker should take none.
    const lacksMemory =
      error instanceof LotusError && ['out_of_memory', 'shape_not_admitted'].includes(error.code);
    if (!lacksMemory) throw error;
    log.warn({ err: error }, 'there is no memory for the warm-up; smaller images may run');
  }
}
