import type { HandOut } from '../test/runpod/hand-outs.ts';
import type { StandInPlatform } from '../test/runpod/platform.ts';
import { readResult, type Said } from './answers.ts';
import type { TestJob } from './jobs.ts';
import type { Line } from './log.ts';
import type { Footprint } from './processes.ts';
import type { Strike } from './stage.ts';
import type { Life } from './worker.ts';

/** A result that the platform has accepted. */
export interface Result {
  readonly job: string;
  readonly t: number;
  readonly acknowledged: boolean;
  readonly said: Said;
}

/** What there is in the end that should not be. */
export interface Leftovers {
  readonly spool: readonly string[];
  readonly scratch: readonly string[];
  readonly halfMade: readonly string[];
  readonly processes: readonly string[];
}

/** All that was seen of a run; the verdict is made from it alone. */
export interface Evidence {
  readonly jobs: readonly Pick<TestJob, 'id' | 'expects' | 'looks'>[];
  /** What an undisturbed worker has said to each job. */
  readonly undisturbed: ReadonlyMap<string, Said>;
  readonly results: readonly Result[];
  readonly handOuts: readonly HandOut[];
  readonly lives: readonly Life[];
  readonly lines: readonly Line[];
  readonly strikes: readonly Strike[];
  readonly leftovers: Leftovers;
  /** How the worker has ended when it was told to in the end; null: it had to be killed. */
  readonly lastExit: number | string | null;
  readonly footprints: { readonly node: Footprint | null; readonly python: Footprint | null };
}

/** The results that a platform has accepted, in their order. */
export function resultsOf(platform: StandInPlatform): Result[] {
  const seen = new Map<string, number>();
  return platform.acceptances.map(({ jobId, t, acknowledged }) => {
    const nth = seen.get(jobId) ?? 0;
    seen.set(jobId, nth + 1);
    return { job: jobId, t, acknowledged, said: readResult(platform.results(jobId)[nth]) };
  });
}
