import { describe, expect, it } from 'vitest';
import { heldHandler, job, startRig } from './rig.ts';

describe('the stand-in for the platform', () => {
  it('hands out again what it gave to a worker that has never read it', async () => {
    const { platform, of, end } = await startRig({
      platformOptions: { heartbeatMs: 300 },
      pingMs: 50,
      prepare: (it) => it.spoilTakes('lose-answer'),
    });
    platform.queue(job('lost'));
    await platform.until(() => of('delivered').length === 1);
    await end();
    expect(platform.handOuts.map(({ id }) => id)).toEqual(['lost', 'lost']);
    expect(platform.acceptances).toMatchObject([{ jobId: 'lost', acknowledged: true }]);
  });

  it('hands out nothing again that the pings name, nor what was answered in the meantime', async () => {
    const { handler, started, release } = heldHandler();
    const { platform, of } = await startRig({
      platformOptions: { heartbeatMs: 3000 },
      pingMs: 50,
      handler,
    });
    platform.queue(job('long'));
    await platform.until(() => started.length === 1);
    await platform.until(() => platform.requestsTo('/ping/').length > 70);
    release('long');
    await platform.until(() => of('delivered').length === 1);
    expect(platform.handOuts.map(({ id }) => id)).toEqual(['long']);
  });
});
