import { existsSync } from 'node:fs';
import path from 'node:path';
import { type Config, type Environment, readConfig } from '../config.ts';
import { createLog, type Log } from '../log.ts';
import { provision } from '../provision/provision.ts';
import { Model } from '../worker/model.ts';
import type { Terminal } from './terminal.ts';

/** The flags that stand for settings. */
export interface SettingFlags {
  sample?: boolean;
  model?: string;
}

/** What a command works with. */
export interface Session {
  readonly config: Config;
  readonly env: Environment;
  readonly log: Log;
  readonly terminal: Terminal;
}

/** Read the settings, flags before the environment. */
export async function openSession(flags: SettingFlags, terminal: Terminal): Promise<Session> {
  const env: Environment = {
    ...process.env,
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

/** Make the workspace ready, showing what is done, and start the model. */
export async function startModel(session: Session, signal: AbortSignal): Promise<Model> {
  const { config, env, log, terminal } = session;
  await provision({ config, env, signal, report: (line) => terminal.note(line) });
  const cached = path.join(config.hubCache, `models--${config.model.id.replaceAll('/', '--')}`);
  if (!path.isAbsolute(config.model.id) && !existsSync(cached)) {
    terminal.note(`model: downloading ${config.model.id} to ${config.hubCache}; that may be 5 GB`);
  }
  terminal.status(`loading ${config.model.name}`);
  try {
    return await Model.start({
      config,
      env,
      log,
      signal,
      onStage: (stage) => terminal.status(`loading ${config.model.name}: ${stage}`),
    });
  } finally {
    terminal.status('');
  }
}

/** Aborts on the first Ctrl-C or SIGTERM, so that things end in order; the second one exits at once. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(130);
      controller.abort();
    });
  }
  return controller.signal;
}
