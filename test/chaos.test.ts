import { describe, expect, it } from 'vitest';
import { runChaos } from '../chaos/chaos.ts';
import type { Fault } from '../chaos/schedule.ts';

/** The faults of this seed begin with these; whoever changes the schedule looks for another that does. */
const SEED = 17_129;
const FAULTS = [
  'node kill owing',
  'platform outage',
  'python stop running',
  'python garble running',
  'platform errors',
  'python kill running',
];

/** The short form of `npm run chaos`, which takes another seed each time. */
describe.skipIf(process.platform !== 'linux')(
  'a worker that faults strike while it has jobs to do',
  () => {
    it('keeps every promise', { timeout: 600_000 }, async ({ signal }) => {
      const story: string[] = [];
      const { evidence, verdict } = await runChaos({
        seed: SEED,
        jobs: 60,
        ms: 45_000,
        leastFaults: FAULTS.length,
        signal,
        say: (line) => story.push(line),
      });
      const broken = verdict.promises.filter((one) => one.broken.length > 0);
      expect(broken, story.join('\n')).toEqual([]);
      const struck = evidence.strikes.slice(0, FAULTS.length).map(({ fault }) => nameOf(fault));
      expect(struck).toEqual(FAULTS);
    });
  },
);

function nameOf(fault: Fault): string {
  return [fault.on, fault.what, ...(fault.on === 'platform' ? [] : [fault.moment])].join(' ');
}
