import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
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

  it('goes on with new connections when the old ones are closed', async () => {
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

  it('sends no result by an old connection that is dead without a sign', async () => {
    await using relay = await startRelay();
    await using child = await startChild({ timing: { takeMs: 2_000 }, port: relay.port });
    const { platform, frozen, of } = child;
    relay.to(platform.port);
    platform.queue(job('a'));
    await platform.until(() => platform.results('a').length === 1);
    await frozen(async () => {
      relay.deafen();
      await sleep(A_FREEZE_MS);
    });
    platform.queue(job('b'));
    await platform.until(() => platform.results('b').length === 1);
    expect(of('delivery-retried')).toEqual([]);
  });

  it('still has time for a result whose time has passed in the meantime', async () => {
    await using child = await startChild({ timing: { deliverMs: 4_000 } });
    const { platform, frozen, of } = child;
    platform.spoilResults('a', ...Array<number>(100_000).fill(503));
    platform.queue(job('a'));
    await platform.until(() => of('delivery-retried').length > 2);
    await frozen(() => sleep(A_FREEZE_MS));
    const tried = of('delivery-retried').length;
    await platform.until(() => of('delivery-retried').length + of('dropped').length > tried + 5);
    platform.mend('a');
    await platform.until(() => platform.results('a').length === 1);
    expect(of('dropped')).toEqual([]);
  });
});

/** Between worker and platform. What it has connected can be made to hear nothing more, and to stay open. */
async function startRelay() {
  const pairs = new Set<readonly [Socket, Socket]>();
  let platformPort = 0;
  const server = createServer((worker) => {
    const platform = connect(platformPort, '127.0.0.1');
    worker.pipe(platform).pipe(worker);
    for (const end of [worker, platform]) end.on('error', () => {}); // its other end is told by the pipe
    pairs.add([worker, platform]);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    to: (port: number) => {
      platformPort = port;
    },
    deafen: () => {
      for (const [worker, platform] of pairs) {
        worker.unpipe(platform).resume();
        platform.unpipe(worker).destroy();
      }
    },
    async [Symbol.asyncDispose]() {
      for (const [worker] of pairs) worker.destroy();
      server.close();
    },
  };
}
