import type { Said } from './answers.ts';
import { resultsOf } from './evidence.ts';
import type { TestJob } from './jobs.ts';
import { START_MS, setUp } from './set-up.ts';
import { waitFor } from './stage.ts';

/** Nothing that works takes as long for a job. */
const JOB_MS = 5_000;

/**
 * What a worker says to each of the jobs when it is left alone.
 *
 * @throws Error when that is not what the jobs expect: nothing could be told from a run with faults then.
 */
export async function runUndisturbed(
  jobs: readonly TestJob[],
  signal: AbortSignal,
): Promise<Map<string, Said>> {
  await using stack = new AsyncDisposableStack();
  const { platform, worker } = await setUp(stack, { holdMs: 2_000 });
  platform.queue(...jobs.map(({ id, input }) => ({ id, input })));
  worker.start('worker1');
  const isOver = () => platform.acceptances.length >= jobs.length || worker.life.end !== null;
  await waitFor(isOver, START_MS + jobs.length * JOB_MS, signal);
  const said = new Map(resultsOf(platform).map((result) => [result.job, result.said]));
  const wrong = jobs.filter(({ id, expects }) => !isExpected(said.get(id), expects));
  if (wrong.length === 0) return said;
  const list = wrong.slice(0, 5).map(({ id, expects }) => {
    return `${id} expects ${expects} and got ${JSON.stringify(said.get(id))}`;
  });
  const last = worker.lines.slice(-5).map(({ msg }) => msg);
  throw new Error(
    `${wrong.length} jobs are not answered as they should be, and there were no faults yet: ${list.join('; ')};` +
      ` the log ends with: ${last.join('; ')}`,
  );
}

function isExpected(said: Said | undefined, expects: TestJob['expects']): boolean {
  if (!said) return false;
  return 'map' in said ? expects === 'map' : said.error === expects;
}
