import type { Job } from '../runpod/handler.ts';
import { type Service, withModel } from './serve.ts';

/** The id that the official SDK gives a test job that has none. */
const ID = 'local_test';

/**
 * Run one job of the operator's own, as the queue would, and print its answer.
 *
 * @returns the exit code: 0 when it was answered, 1 when it failed.
 */
export async function serveTestJob(
  given: Record<string, unknown>,
  service: Service,
): Promise<number> {
  const { config, signal, print } = service;
  const job: Job = {
    ...given,
    id: typeof given.id === 'string' ? given.id : ID,
    input: given.input,
  };
  const maxOutputBytes = config.answerLimits.runsync;
  return await withModel(service, async (_model, handler) => {
    const output = await handler(job, { signal, maxOutputBytes, progress: () => {} });
    print(JSON.stringify(output));
    return typeof output === 'object' && output !== null && 'error' in output ? 1 : 0;
  });
}
