import { describe, expect, it } from 'vitest';
import { Random } from '../../chaos/random.ts';
import { type Due, describe as inWords, schedule } from '../../chaos/schedule.ts';

/** The first faults of a seed. */
function deal(seed: number, count: number): Due[] {
  const faults = schedule(new Random(seed));
  return Array.from({ length: count }, () => faults.next().value);
}

const first = (seed: number, count: number) =>
  deal(seed, count).map(({ afterMs, fault }) => `${afterMs} ${inWords(fault)}`);

describe('the schedule of faults', () => {
  it('is the same for the same seed, and another for another', () => {
    expect(first(1, 50)).toEqual(first(1, 50));
    expect(first(1, 50)).not.toEqual(first(2, 50));
  });

  it('has every kind of fault before it has one twice as often', () => {
    const kinds = new Set(deal(3, 24).map(({ fault }) => `${fault.on} ${fault.what}`));
    expect([...kinds].sort()).toEqual([
      'node freeze',
      'node kill',
      'node terminate',
      'platform drop',
      'platform errors',
      'platform limit',
      'platform lose',
      'platform outage',
      'platform slow',
      'python garble',
      'python kill',
      'python starve',
      'python stop',
    ]);
  });
});
