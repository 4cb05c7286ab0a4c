import { once } from 'node:events';
import { messageOf, UsageError } from '../errors.ts';
import { startApi } from '../http/server.ts';
import { isServerKey } from '../job/authorize.ts';
import { jobInputSchema } from '../job/schema.ts';
import type { Handler } from '../runpod/handler.ts';
import type { Model } from '../worker/model.ts';
import type { HttpMode } from './mode.ts';
import { withSweptOutputs } from './outputs.ts';
import { concurrencyFor, followModel, type Service, warnWithoutKey, withModel } from './serve.ts';

/**
 * Answer jobs by HTTP until told to stop, or until the model is lost. It listens at once, takes jobs while the model
 * is loading, and runs them when it is there.
 *
 * @returns the exit code.
 * @throws UsageError without a key or when it cannot listen, SetupError or LotusError when the model cannot be had.
 */
export async function serveHttp(
  { host, port, isAskedFor }: HttpMode,
  service: Service,
): Promise<number> {
  const { config, log, signal, print } = service;
  const { apiKey } = config;
  if (apiKey === null && isAskedFor) {
    throw new UsageError('LOTUS_API_KEY is not set: set it to the key that callers must bring.');
  }
  warnWithoutKey(service);
  const loaded = Promise.withResolvers<Handler>();
  let model: Model | null = null;
  const api = await startApi({
    host,
    port,
    handler: async (job, context) => (await loaded.promise)(job, context),
    ready: loaded.promise,
    isKey: (key) => isServerKey(key, apiKey),
    input: jobInputSchema,
    log,
    limits: {
      concurrency: concurrencyFor(service, 1),
      maxOutputBytes: config.answerLimits.run,
      maxSyncOutputBytes: config.answerLimits.runsync,
    },
    restarts: () => model?.restarts ?? 0,
    webhooks: { policy: config.fetch },
  });
  print(`listening at ${api.url}`);
  try {
    return await withModel(service, async (started, handler) => {
      model = started;
      loaded.resolve(handler);
      followModel(api.queue, model, service);
      log.info('taking jobs');
      const over = AbortSignal.any([signal, model.lost]);
      await withSweptOutputs(service, async () => {
        if (!over.aborted) await once(over, 'abort');
        await api.close(config.shutdownGraceMs);
      });
      if (!model.lost.aborted) return 0;
      log.error({ reason: messageOf(model.lost.reason) }, 'no more jobs');
      return 1;
    });
  } catch (error) {
    await api.close(0);
    throw error;
  }
}
