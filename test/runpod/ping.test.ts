import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { startChild } from './child.ts';
import { heldHandler, job, startRig } from './rig.ts';

describe('pings', () => {
  it('begin at once, in the form of the reference', async () => {
    const { platform } = await startRig({ pingMs: 10_000 });
    await platform.until(() => platform.requestsTo('ping').length === 1);
    expect(platform.requestsTo('ping')[0]).toMatchObject({
      method: 'GET',
      path: '/v2/ep1/ping/worker1',
      query: 'runpod_version=1.12.0',
      headers: { accept: '*/*', authorization: 'platform-secret' },
    });
  });

  it('name the jobs that are worked on, as long as they are', async () => {
    const { handler, started, release } = heldHandler();
    const { platform } = await startRig({ handler, concurrency: 2, pingMs: 20 });
    const last = () => platform.requestsTo('ping').at(-1)?.query;
    platform.queue(job('a'), job('b'));
    await platform.until(() => started.length === 2);
    await platform.until(() => last() === 'job_id=a%2Cb&runpod_version=1.12.0');
    release('a');
    await platform.until(() => last() === 'job_id=b&runpod_version=1.12.0');
    release('b');
    await platform.until(() => last() === 'runpod_version=1.12.0');
  });

  it('name a job until its result is delivered', async () => {
    const { platform, of } = await startRig({
      pingMs: 20,
      prepare: (it) => {
        it.spoilResults('a', ...Array<number>(100_000).fill(503));
        it.queue(job('a'));
      },
    });
    await platform.until(() => of('finished').length === 1);
    const before = platform.requestsTo('ping').length;
    await platform.until(() => platform.requestsTo('ping').length > before + 2);
    expect(platform.requestsTo('ping').at(-1)?.query).toContain('job_id=a&');
    platform.mend('a');
    await platform.until(() => platform.results('a').length === 1);
  });

  it('go on while the event loop is busy', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'ping-'));
    const [begun, until] = [path.join(folder, 'begun'), path.join(folder, 'until')];
    await using child = await startChild({ pingMs: 20 });
    const { platform } = child;
    const pingsForA = () =>
      platform.requestsTo('ping').filter(({ query }) => query.includes('=a&'));
    platform.queue(job('a', { busy: { begun, until } }));
    await platform.until(() => platform.requestsTo('job-take').some(({ note }) => note === 'a'));
    // The loop of the handler ends after these, and only then.
    await platform.until(() => pingsForA().length >= 10);
    expect(platform.accepted.size).toBe(0);
    await writeFile(until, '');
    await platform.until(() => platform.results('a').length === 1);
    await rm(folder, { recursive: true });
  });

  it('go on after some have failed, which is reported', async () => {
    const { platform, of } = await startRig({
      pingMs: 20,
      prepare: (it) => it.spoilPings(500, 'drop-before'),
    });
    await platform.until(() => platform.requestsTo('ping').length > 5);
    await platform.until(() => of('ping-failed').length === 2);
  });

  it('are not sent where the platform wants none', async () => {
    const { platform, end } = await startRig({ env: { RUNPOD_WEBHOOK_PING: '' } });
    platform.queue(job('a'));
    await platform.until(() => platform.results('a').length === 1);
    await end();
    expect(platform.requestsTo('ping')).toEqual([]);
  });
});

describe('a worker that is unfit', () => {
  it('says so, finishes what it has, and ends', async () => {
    const { handler, started, release } = heldHandler();
    const { platform, worker, ended } = await startRig({ handler });
    platform.queue(job('a'));
    await platform.until(() => started.length === 1);
    await worker.unfit('gpu', `key platform-secret, and ${'x'.repeat(1_000)}`);
    const query = new URLSearchParams(platform.requestsTo('ping').at(-1)?.query);
    expect([...query.keys()]).toEqual(['job_id', 'status', 'check', 'reason', 'runpod_version']);
    expect(query.get('status')).toBe('unhealthy');
    expect(query.get('check')).toBe('gpu');
    expect(query.get('reason')).toHaveLength(256);
    expect(query.get('reason')).toContain('key [platform key], and x');
    release('a');
    expect(await ended).toMatchObject({ reason: 'unfit', counts: { delivered: 1 } });
    expect(platform.results('a')).toHaveLength(1);
  });

  it('can say so before it has taken a job, in the form of the reference', async () => {
    const { platform, worker, ended } = await startRig();
    await worker.unfit('model', 'no weights');
    expect(platform.requestsTo('ping').at(-1)?.query).toBe(
      'status=unhealthy&check=model&reason=no+weights&runpod_version=1.12.0',
    );
    expect(await ended).toMatchObject({ reason: 'unfit' });
  });
});
