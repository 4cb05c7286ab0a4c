import { describe, expect, it } from 'vitest';
import { runChaos } from '../chaos/chaos.ts';

/** One that begins with: Node killed while it owes results, an outage, Python hanging, babbling, and killed. */
const SEED = 17_129;

/** The short form of `npm run chaos`, which takes another seed each time. */
describe.skipIf(process.platform !== 'linux')(
  'a worker that faults strike while it has jobs to do',
  () => {
    it('keeps every promise', { timeout: 600_000 }, async ({ signal }) => {
      const story: string[] = [];
      const say = (line: string) => story.push(line);
      const { evidence, verdict } = await runChaos({
        seed: SEED,
        jobs: 60,
        ms: 50_000,
        signal,
        say,
      });
      const broken = verdict.promises.filter((one) => one.broken.length > 0);
      expect(broken, story.join('\n')).toEqual([]);
      const struck = evidence.strikes.map(({ fault }) => `${fault.on} ${fault.what}`);
      expect(struck.slice(0, 4)).toEqual([
        'node kill',
        'platform outage',
        'python stop',
        'python garble',
      ]);
    });
  },
);
