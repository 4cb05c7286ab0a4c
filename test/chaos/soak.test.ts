import { describe, expect, it } from 'vitest';
import type { Footprint } from '../../chaos/processes.ts';
import type { Sample } from '../../chaos/soak/soak.ts';
import { judgeSoak } from '../../chaos/soak/verdict.ts';

const MB = 1e6;
const footprint = (rss: number): Footprint => ({ rss, pss: rss, threads: 11, descriptors: 30 });

/** A sample after every 50 jobs up to 2,000; nothing grows but what is changed. */
function soaked(change: (jobs: number) => Partial<Sample> = () => ({})) {
  const samples = Array.from({ length: 40 }, (_, n): Sample => {
    const jobs = 50 * (n + 1);
    return {
      jobs,
      seconds: jobs,
      node: footprint(200 * MB),
      python: footprint(900 * MB),
      scratch: 0,
      spool: 0,
      outputs: jobs,
      outputsWanted: jobs,
      ...change(jobs),
    };
  });
  return { samples, wrong: [], left: [] };
}

const broken = (run: Parameters<typeof judgeSoak>[0]) =>
  judgeSoak(run).promises.flatMap(({ promise, broken: what }) =>
    what.length > 0 ? [promise] : [],
  );

describe('the verdict on a soak', () => {
  it('is that all is well when nothing grows, also when memory did before it was warm', () => {
    const warming = (jobs: number) => ({ node: footprint((jobs < 500 ? jobs / 4 : 200) * MB) });
    expect(judgeSoak(soaked(warming))).toMatchObject({
      held: true,
      growth: { node: 0, python: 0 },
    });
  });

  it.each<[string, RegExp, (jobs: number) => Partial<Sample>]>([
    ['Node grows', /memory of Node/, (jobs) => ({ node: footprint(200 * MB + jobs * 10_000) })],
    [
      'Python grows',
      /memory of Python/,
      (jobs) => ({ python: footprint(900 * MB + jobs * 40_000) }),
    ],
    [
      'a descriptor is left now and then',
      /descriptor/,
      (jobs) => ({ node: { ...footprint(200 * MB), descriptors: 30 + Math.floor(jobs / 100) } }),
    ],
    ['pixels are left in the scratch folder', /no file is left/, () => ({ scratch: 1 })],
    ['a file is left that no answer names', /no file is left/, (jobs) => ({ outputs: jobs + 1 })],
  ])('finds it when %s', (_what, promise, change) => {
    expect(broken(soaked(change))).toEqual([expect.stringMatching(promise)]);
  });

  it('finds an answer that is not as it should be, and a scratch folder that its end has left', () => {
    const run = { ...soaked(), wrong: ['job-1: internal, and not map'], left: ['a.rgb'] };
    expect(broken(run)).toHaveLength(2);
  });

  it('refuses to judge what was too short to tell', () => {
    const { samples } = soaked();
    const short = { ...soaked(), samples: samples.slice(0, 15) };
    expect(() => judgeSoak(short)).toThrow('6 samples after job 500, and 10 are needed');
  });
});
