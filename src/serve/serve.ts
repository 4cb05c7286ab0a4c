import path from 'node:path';
import type { Config } from '../config.ts';
import { isCancelled } from '../errors.ts';
import { runJob } from '../job/run.ts';
import type { Log } from '../log.ts';
import type { Handler } from '../runpod/handler.ts';
import { OUTPUTS, outputFolder } from '../storage/folders.ts';
import { Bounded } from '../time/bounded.ts';
import type { Model } from '../worker/model.ts';
import { jobHandler } from './handler.ts';
import { serveHttp } from './http.ts';
import type { Mode } from './mode.ts';
import { serveQueue } from './queue.ts';
import { serveTestJob } from './test-input.ts';

/** What jobs are served with, wherever they come from. */
export interface Service {
  readonly config: Config;
  readonly log: Log;
  /** Aborts when we are to end. */
  readonly signal: AbortSignal;
  /** Starts the model. */
  start(): Promise<Model>;
  /** Runs the model once; throws when it is of no use. */
  warm(model: Model): Promise<void>;
  /** Gets the answer of a test job, and where the local API is. */
  print(line: string): void;
}

/**
 * Start the model, once, and answer jobs with it until told to end.
 *
 * @returns the exit code: 0 when told to end, also before the model was there; 1 when it was lost.
 * @throws UsageError, SetupError or LotusError when it cannot begin. The platform has been told.
 */
export async function serveJobs(mode: Mode, service: Service): Promise<number> {
  try {
    switch (mode.kind) {
      case 'queue':
        return await serveQueue(mode.platform, service);
      case 'http':
        return await serveHttp(mode, service);
      case 'test':
        return await serveTestJob(mode.job, service);
    }
  } catch (error) {
    if (isCancelled(error) && service.signal.aborted) return 0;
    throw error;
  }
}

/** A picture of the largest size on a slow volume takes seconds; a thread that hangs is one of those of all files. */
const SAVES = { waitMs: 30_000, maxHanging: 2 };

/** Jobs beside those in the model: one that is fetched and decoded, and one that is encoded and saved. */
const AHEAD = 2;
/** One that is uploaded, where that is the rule. */
const UPLOADED = 1;

/** How many jobs are worked on at the same time, with so many processes that run images. */
export function concurrencyFor({ config }: Service, processes: number): number {
  const beside = config.uploads.bucket === null ? AHEAD : AHEAD + UPLOADED;
  return config.concurrency ?? processes + beside;
}

/** Whatever takes jobs. */
interface Taker {
  pause(): void;
  /** @param concurrency how many are worked on at the same time from now on. */
  resume(concurrency: number): void;
}

/** Have no job taken while no process is up, and as many as those that are can do. */
export function followModel(taker: Taker, model: Model, service: Service): void {
  model.watch((processes) => {
    if (processes === 0) taker.pause();
    else taker.resume(concurrencyFor(service, processes));
  });
}

/** Whoever has forgotten it finds out here, and not by its callers' complaints alone. */
export function warnWithoutKey({ config, log }: Service): void {
  if (config.apiKey !== null) return;
  log.error('LOTUS_API_KEY is not set: every job will be answered with Unauthorized');
}

/** Start the model and warm it up, do something with it and what answers jobs by it, and stop it. */
export async function withModel<T>(
  service: Service,
  use: (model: Model, handler: Handler) => Promise<T>,
): Promise<T> {
  const model = await service.start();
  try {
    await service.warm(model);
    return await use(model, handlerFor(model, service));
  } finally {
    await model.stop();
  }
}

function handlerFor(model: Model, { config, log }: Service): Handler {
  const context = {
    model,
    modelName: config.model.name,
    prediction: config.model.prediction,
    apiKey: config.apiKey,
    fetch: config.fetch,
    uploads: config.uploads,
    outputDir: path.join(config.workspace, OUTPUTS),
    makeOutputDir: () => outputFolder(config.workspace),
    saves: new Bounded(SAVES),
  };
  return jobHandler({
    run: (job, request) => runJob(job, { ...context, ...request }),
    log,
  });
}
