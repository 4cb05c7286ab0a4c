import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { A_FREEZE_MS, startChild } from './child.ts';
import { job } from './rig.ts';

describe.concurrent('a worker that was frozen and thawed', () => {
  it('runs the job that it was given in the meantime, though its time-out has passed', async () => {
    await using child = await startChild({
      platformOptions: { holdMs: 60_000 },
      timing: { takeMs: 2_000 },
    });
    const { platform, frozen, of } = child;
    await platform.until(() => platform.isHolding('job-take'));
    await frozen(async () => {
      platform.queue(job('a'));
      await sleep(A_FREEZE_MS);
    });
    await platform.until(() => platform.results('a').length === 1);
    expect(of('thawed').length).toBeGreaterThan(0);
    expect(of('take-failed')).toEqual([]);
    expect(platform.requestsTo('job-take').filter(({ note }) => note === 'a')).toHaveLength(1);
  });

  it('goes on with new connections when the old ones are dead', async () => {
    await using child = await startChild();
    const { platform, frozen } = child;
    platform.queue(job('a'));
    await platform.until(() => platform.results('a').length === 1);
    await frozen(async () => {
      await platform.outage(async () => {});
      await sleep(A_FREEZE_MS);
    });
    platform.queue(job('b'));
    await platform.until(() => platform.results('b').length === 1);
  });

  it('still delivers a result whose time has passed in the meantime', async () => {
    await using child = await startChild({ timing: { deliverMs: 4_000 } });
    const { platform, frozen, of } = child;
    platform.spoilResults('a', ...Array<number>(100_000).fill(503));
    platform.queue(job('a'));
    await platform.until(() => of('delivery-retried').length > 2);
    await frozen(async () => {
      platform.mend('a');
      await sleep(A_FREEZE_MS);
    });
    await platform.until(() => platform.results('a').length === 1);
    expect(of('dropped')).toEqual([]);
  });
});
