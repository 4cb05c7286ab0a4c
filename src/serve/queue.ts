import { isCancelled, messageOf, SetupError } from '../errors.ts';
import type { Handler } from '../runpod/handler.ts';
import type { Outbox } from '../runpod/outbox.ts';
import type { Platform } from '../runpod/platform.ts';
import { RunPodWorker } from '../runpod/worker.ts';
import { endpointName } from '../spool/endpoint.ts';
import { Spool } from '../spool/spool.ts';
import type { Model } from '../worker/model.ts';
import { logEvents } from './events.ts';
import { orLeave } from './leave.ts';
import { withSweptOutputs } from './outputs.ts';
import { concurrencyFor, followModel, type Service, warnWithoutKey, withModel } from './serve.ts';

/**
 * Take jobs from the platform's queue until told to stop, or until the model is lost.
 *
 * @returns the exit code: 1 when we are of no use any more, so that the platform starts another worker.
 * @throws SetupError or LotusError when the model cannot be had; the platform has been told.
 */
export async function serveQueue(platform: Platform, service: Service): Promise<number> {
  warnWithoutKey(service);
  let isServing = false;
  try {
    return await withModel(service, async (model, handler) => {
      isServing = true;
      return await withSpool(platform, service, async (spool) => {
        const worker = newWorker(platform, service, handler, spool);
        const take = () => takeJobs(worker, platform, model, service);
        return await withSweptOutputs(service, take);
      });
    });
  } catch (error) {
    if (!isServing && !isCancelled(error)) await tellUnfit(platform, service, error);
    throw error;
  }
}

async function takeJobs(
  worker: RunPodWorker,
  { workerId }: Platform,
  model: Model,
  service: Service,
): Promise<number> {
  const { log, signal } = service;
  const { lost } = model;
  const giveUp = () => void worker.unfit('model', messageOf(lost.reason));
  const stop = () => worker.stop();
  lost.addEventListener('abort', giveUp, { once: true });
  signal.addEventListener('abort', stop, { once: true });
  if (lost.aborted) giveUp();
  if (signal.aborted) stop();
  followModel(worker, model, service);
  log.info({ worker: workerId, concurrency: concurrencyFor(service, model.up) }, 'taking jobs');
  const { reason, counts } = await worker.run();
  log.info({ reason, ...counts }, 'no more jobs');
  return reason === 'unfit' ? 1 : 0;
}

/** What results outlive this worker in. It is not ours before we deliver: until then another may do that. */
async function withSpool<T>(
  platform: Platform,
  service: Service,
  use: (spool: Spool) => Promise<T>,
): Promise<T> {
  const { workerId } = platform;
  const { config, log } = service;
  const { workspace } = config;
  const spool = new Spool({ workspace, endpoint: endpointName(platform), workerId, log });
  try {
    return await use(spool);
  } finally {
    await orLeave(spool.close(), 'the spool', service);
  }
}

/** Tell the platform that this worker will never take a job, and why. */
async function tellUnfit(platform: Platform, service: Service, error: unknown): Promise<void> {
  const worker = newWorker(platform, service, () => Promise.reject(error));
  await worker.unfit(error instanceof SetupError ? 'setup' : 'model', messageOf(error));
}

function newWorker(
  platform: Platform,
  service: Service,
  handler: Handler,
  outbox?: Outbox,
): RunPodWorker {
  const { config, log } = service;
  return new RunPodWorker({
    platform,
    handler,
    ...(outbox && { outbox }),
    concurrency: concurrencyFor(service, 1),
    limits: config.answerLimits,
    timing: { graceMs: config.shutdownGraceMs },
    observer: logEvents(log),
  });
}
