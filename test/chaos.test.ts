import { describe, expect, it } from 'vitest';
import { runChaos } from '../chaos/chaos.ts';

/** One in which all kinds of faults come early: kills of both, a stop, garbage, and results that are owed. */
const SEED = 7;

/** `npm run chaos` is the long form, with a seed of its own each time. */
describe('a worker that is struck by faults while it has jobs to do', () => {
  it('keeps every promise', async ({ signal }) => {
    const { verdict } = await runChaos({
      seed: SEED,
      jobs: 60,
      ms: 45_000,
      signal,
      say: (line) => console.error(line),
    });
    const broken = verdict.promises.filter((one) => one.broken.length > 0);
    expect(broken).toEqual([]);
    // It would show nothing otherwise.
    expect(verdict.counts['faults struck']).toBeGreaterThan(4);
  });
});
