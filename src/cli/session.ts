import { type Config, type Environment, readConfig } from '../config.ts';
import { Interruption } from '../errors.ts';
import { createLog, type Log } from '../log.ts';
import { holdLeases } from '../provision/leases.ts';
import { provision } from '../provision/provision.ts';
import type { Made, Observer } from '../provision/step.ts';
import { FOR_THE_MODEL, type StepName } from '../provision/steps.ts';
import type { Profile } from '../settings.ts';
import { listDevices } from '../worker/devices.ts';
import { Model } from '../worker/model.ts';
import { showProgress } from './progress.ts';
import type { Terminal } from './terminal.ts';

/** The flags that stand for settings. */
export interface SettingFlags {
  sample?: boolean;
  model?: string;
  /** Settings that the command's own flags stand for. */
  settings?: Environment;
}

/** What a command works with. */
export interface Session {
  readonly config: Config;
  readonly env: Environment;
  readonly log: Log;
  readonly terminal: Terminal;
}

/**
 * Read the settings, flags before the environment.
 *
 * @param logsSteps whether the log, where nobody is looking, tells what is done unless it is told not to.
 */
export async function openSession(
  flags: SettingFlags,
  terminal: Terminal,
  { logsSteps = false } = {},
): Promise<Session> {
  const isQuiet = !logsSteps || terminal.isInteractive || process.env.LOTUS_LOG_LEVEL;
  const env: Environment = {
    ...process.env,
    ...(!isQuiet && { LOTUS_LOG_LEVEL: 'info' }),
    ...flags.settings,
    ...(flags.sample && { LOTUS_SAMPLE: '1' }),
    ...(flags.model !== undefined && otherModel(flags.model)),
  };
  const config = readConfig(env);
  return { config, env, log: await createLog(config.logLevel), terminal };
}

/** What the environment says of its own model does not hold for another. */
function otherModel(id: string): Environment {
  return { MODEL_ID: id, MODEL_REVISION: '', LOTUS_MODEL_PREDICTION: '', LOTUS_SAMPLE: '' };
}

/** What is made ready before the model is started, and how that is shown. */
export interface Preparation {
  observer: Observer;
  steps: readonly StepName[];
  profile?: Profile | undefined;
  /** No more processes than that are of use. Default: one for each GPU. */
  maxProcesses?: number;
}

/** Make the workspace ready, by default showing what is made, and start the model. */
export async function startModel(
  session: Session,
  signal: AbortSignal,
  given: Partial<Preparation> = {},
): Promise<Model> {
  const { config, env, terminal } = session;
  const preparation = { observer: showMaking(terminal), steps: FOR_THE_MODEL, ...given };
  const { made } = await provision({ ...preparation, config, env, signal }).finally(() =>
    terminal.status(''),
  );
  return await loadModel(session, made, signal, preparation.maxProcesses);
}

/** Start the model with what provisioning gave. */
export async function loadModel(
  { config, env, log, terminal }: Session,
  made: Made,
  signal: AbortSignal,
  maxProcesses?: number,
): Promise<Model> {
  await holdLeases(config, made);
  terminal.status(`loading ${config.model.name}`);
  try {
    const [first, ...more] = await listDevices(config, env, { log, signal });
    return await Model.start({
      config,
      devices: [first, ...more.slice(0, (maxProcesses ?? Number.POSITIVE_INFINITY) - 1)],
      installation: made,
      env,
      log,
      signal,
      onStage: (stage) => terminal.status(`loading ${config.model.name}: ${stage}`),
    });
  } finally {
    terminal.status('');
  }
}

/** For commands that are about something else: only what is made is worth a line. */
function showMaking(terminal: Terminal): Observer {
  return {
    said: (name, line) => terminal.note(`${name}: ${line}`),
    progressed: showProgress(terminal, (line) => terminal.note(line)),
    ended: ({ name, state, what, ms }) => {
      terminal.status('');
      if (state === 'made') terminal.note(`${name}: ${what} (${(ms / 1000).toFixed(1)} s)`);
      if (state === 'skipped') terminal.note(`${name}: ${what}`);
    },
  };
}

/** Aborts on the first Ctrl-C or SIGTERM, so that things end in order; the second one exits at once. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(130);
      controller.abort(new Interruption(signal));
    });
  }
  return controller.signal;
}
