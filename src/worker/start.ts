import type { Config, Environment } from '../config.ts';
import type { Installation } from '../installation.ts';
import type { Log } from '../log.ts';
import type { WorkerCommand } from './child.ts';
import { workerCommand } from './command.ts';
import type { OnStage } from './conversation.ts';
import { type Patience, WorkerProcess } from './process.ts';
import type { Hello, Ready } from './protocol.ts';

/** What a process is started with. */
export interface StartOptions {
  readonly config: Config;
  readonly installation: Installation;
  readonly env: Environment;
  readonly log: Log;
  readonly onStage?: OnStage | undefined;
  /** Instead of the real Python side; for tests. */
  readonly command?: WorkerCommand;
  /** For tests. */
  readonly patience?: Partial<Patience>;
}

/** A process that has loaded the model. */
export interface Started {
  readonly process: WorkerProcess;
  readonly versions: Hello['versions'];
  readonly ready: Ready;
  /** Milliseconds from nothing to ready. */
  readonly startedInMs: number;
}

/**
 * Start a Python process and have it load the configured model.
 *
 * @param device what `CUDA_VISIBLE_DEVICES` is for it; null leaves that as it is.
 * @throws LotusError `model_unavailable`, or `cancelled` by the signal.
 */
export async function startProcess(
  { config, installation, env, log, onStage, patience, ...options }: StartOptions,
  device: string | null,
  signal: AbortSignal,
): Promise<Started> {
  const since = performance.now();
  const command = options.command ?? workerCommand(config, env, installation);
  const process = await WorkerProcess.start(onDevice(command, device), log, {
    ...patience,
    signal,
  });
  const ready = await process.load(
    {
      upstream: installation.upstream,
      model: installation.checkpoint.folder,
      revision: installation.checkpoint.revision,
      prediction: config.model.prediction,
      device: config.device,
      dtype: config.dtype,
    },
    { timeoutMs: config.loadTimeoutMs, signal, onStage },
  );
  log.info(
    {
      pid: process.pid,
      model: ready.model,
      revision: ready.revision,
      mode: ready.mode,
      device: ready.device,
      dtype: ready.dtype,
      attention: ready.attention,
      timings_ms: ready.timings_ms,
    },
    'the model is ready',
  );
  const { versions } = await process.hello;
  return { process, versions, ready, startedInMs: performance.now() - since };
}

function onDevice(command: WorkerCommand, device: string | null): WorkerCommand {
  if (device === null) return command;
  return { ...command, env: { ...command.env, CUDA_VISIBLE_DEVICES: device } };
}
