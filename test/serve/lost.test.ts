import { describe, expect, it } from 'vitest';
import { goodInput, logLines, pythonsOf, startWorker } from './rig.ts';

const READY = '"msg":"the model is ready"';

describe('a worker whose model process dies again and again', () => {
  it('answers what it has, takes nothing more, and ends with 1 at the last death that it may have', async () => {
    const { platform, child, logged, results } = await startWorker({ LOTUS_MAX_CRASHES: '2' });
    await logged('taking jobs');
    platform.queue({ id: 'before', input: await goodInput() });
    await results('before');
    for (const isLast of [false, true]) {
      const again = isLast ? null : logged(READY);
      for (const pid of await pythonsOf(child.pid)) process.kill(pid, 'SIGKILL');
      await again;
    }
    const { exitCode, stderr } = await child;
    expect(exitCode).toBe(1);
    const lines = logLines(stderr);
    expect(lines.filter(({ msg }) => msg === 'the model is ready')).toHaveLength(2);
    expect(lines.at(-1)).toMatchObject({ reason: 'unfit', taken: 1, delivered: 1 });
    const last = new URLSearchParams(platform.requestsTo('/ping/').at(-1)?.query);
    expect([last.get('status'), last.get('check')]).toEqual(['unhealthy', 'model']);
  });

  it('lives on when it dies once less than that', async () => {
    const { platform, child, logged, results, end } = await startWorker({ LOTUS_MAX_CRASHES: '2' });
    await logged('taking jobs');
    const again = logged(READY);
    for (const pid of await pythonsOf(child.pid)) process.kill(pid, 'SIGKILL');
    await again;
    platform.queue({ id: 'after', input: await goodInput() });
    expect(await results('after')).toMatchObject([{ output: { model_id: 'sample' } }]);
    expect((await end()).exitCode).toBe(0);
  });
});
