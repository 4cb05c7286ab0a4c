import { describe, expect, it } from 'vitest';
import { runChaos } from '../chaos/chaos.ts';

/** One that begins with: Node killed while it owes results, an outage, Python hanging, babbling, and killed. */
const SEED = 17_129;

/** The short form of `npm run chaos`, which takes another seed each time. */
describe.skipIf(process.platform !== 'linux')(
  'a worker that faults strike while it has jobs to do',
  () => {
    it('keeps every promise', async ({ signal }) => {
      const { evidence, verdict } = await runChaos({
        seed: SEED,
        jobs: 60,
        ms: 50_000,
        signal,
        say: (line) => console.error(line),
      });
      expect(verdict.promises.filter(({ broken }) => broken.length > 0)).toEqual([]);
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
