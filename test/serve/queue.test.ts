import { readFileSync } from 'node:fs';
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { SAMPLE_ROOT } from '../../src/app.ts';
import { temporaryFolder } from '../cli/cli.ts';
import { API_KEY, goodInput, logLines, pythonsOf, startWorker, terminate } from './rig.ts';

const jobLines = (lines: Record<string, unknown>[]) => lines.filter(({ msg }) => msg === 'job');

describe('lotus-worker serve, on the queue', () => {
  it('answers every job with its map or with what is wrong with it, a line in the log for each', async () => {
    const { platform, results, end } = await startWorker();
    const input = await goodInput();
    platform.queue(
      { id: 'good', input },
      { id: 'sync-good', input: { ...input, disparity: false, output_formats: ['npy'] } },
      {
        id: 'by-header',
        input: { ...input, api_key: null },
        http: { headers: { 'LOTUS-API-KEY': API_KEY } },
      },
      { id: 'no-key', input: { ...input, api_key: undefined } },
      { id: 'wrong-key', input: { ...input, api_key: 'sk-of-nobody' } },
      { id: 'no-image', input: { api_key: API_KEY } },
      { id: 'no-base64', input: { ...input, image_base64: '!' } },
      { id: 'typo', input: { ...input, procesing_res: 64 } },
      {
        id: 'inside',
        input: { api_key: API_KEY, image_url: 'http://127.0.0.1:1/?token=sk-in-a-url' },
      },
      { id: 'model', input: { ...input, model_id: 'somebody/else' } },
    );
    const failed = (error: unknown, status: number, code: string) => ({
      error,
      output: { status, code },
    });
    const [good, sync, byHeader, ...refused] = await results(
      ...[
        'good',
        'sync-good',
        'by-header',
        'no-key',
        'wrong-key',
        'no-image',
        'no-base64',
        'typo',
        'inside',
        'model',
      ],
    );
    const answer = { model_id: 'sample', width: 640, height: 427, seed: 0, warnings: [] };
    expect(good).toEqual({
      output: expect.objectContaining({ ...answer, polarity: 'near-bright' }),
    });
    expect(sync).toEqual({
      output: expect.objectContaining({ ...answer, polarity: 'far-bright' }),
    });
    expect(byHeader).toEqual({ output: expect.objectContaining(answer) });
    expect(refused).toEqual([
      failed('Unauthorized', 401, 'unauthorized'),
      failed('Unauthorized', 401, 'unauthorized'),
      failed(expect.stringContaining('send image_base64'), 400, 'no_image'),
      failed(expect.stringContaining('not base64'), 400, 'invalid_image'),
      failed(expect.stringContaining('procesing_res'), 400, 'invalid_input'),
      failed(expect.stringContaining('not on the public internet'), 400, 'fetch_refused'),
      failed(expect.stringContaining('"somebody/else" is not allowed'), 400, 'model_not_allowed'),
    ]);
    const { exitCode, stdout, lines } = await end();
    expect([exitCode, stdout]).toEqual([0, '']);
    expect(jobLines(lines).map(({ job, outcome, code }) => [job, outcome, code])).toEqual(
      expect.arrayContaining([
        ['good', 'completed', undefined],
        ['no-key', 'failed', 'unauthorized'],
        ['inside', 'failed', 'fetch_refused'],
      ]),
    );
    expect(jobLines(lines)).toHaveLength(10);
    const line = jobLines(lines).find(({ job }) => job === 'good');
    expect(line).toMatchObject({
      model: 'sample',
      size: '640x427',
      bytes: { png: expect.any(Number) },
    });
    expect(Object.keys(line?.ms as object)).toEqual(
      expect.arrayContaining([
        'acquire',
        'image_decode',
        'wait',
        'model',
        'image_encode',
        'save',
        'total',
      ]),
    );
  });

  it('asks for jobs and pings only when the model is ready, and again as long as it lives', async () => {
    const { platform, until, end } = await startWorker();
    await until(() => platform.requestsTo('/ping/').length > 2);
    const { lines } = await end();
    const order = lines
      .map(({ msg }) => msg)
      .filter((msg) => ['the model is ready', 'warmed up', 'taking jobs'].includes(String(msg)));
    expect(order).toEqual(['the model is ready', 'warmed up', 'taking jobs']);
    expect(platform.requestsTo('/job-take').length).toBeGreaterThan(0);
  });

  it('finishes what runs after SIGTERM, delivers it, and takes nothing more', async () => {
    const { platform, child, until, results } = await startWorker({ LOTUS_CONCURRENCY: '1' });
    platform.queue({ id: 'slow', input: await goodInput({ processing_res: 1024 }) });
    await until(() => platform.requestsTo('/job-take').some(({ note }) => note === 'slow'));
    terminate(child);
    platform.queue({ id: 'late', input: await goodInput() });
    expect(await results('slow')).toMatchObject([{ output: { processing_width: 1024 } }]);
    expect((await child).exitCode).toBe(0);
    expect(platform.results('late')).toEqual([]);
  });

  it('leaves the picture out of an answer that would be too large, and says where it is', async () => {
    const { platform, results } = await startWorker({ LOTUS_RUN_LIMIT: '5120' });
    platform.queue(
      { id: 'large', input: await goodInput() },
      { id: 'sync-large', input: await goodInput() },
    );
    const [large, sync] = await results('large', 'sync-large');
    const output = large?.output as Record<string, string>;
    expect(output).toMatchObject({
      image_base64: null,
      warnings: [expect.stringMatching(/^image_base64 is null: the answer would have \d+ bytes/)],
    });
    const picture = (await readFile(output.file_path ?? '')).toString('base64');
    expect(sync?.output).toMatchObject({ image_base64: picture, warnings: [] });
  });

  it('lets nobody in without a key of its own', async () => {
    const { platform, results, end } = await startWorker({ LOTUS_API_KEY: '' });
    platform.queue({ id: 'any', input: await goodInput({ api_key: '' }) });
    expect(await results('any')).toEqual([
      { error: 'Unauthorized', output: { status: 401, code: 'unauthorized' } },
    ]);
    expect((await end()).stderr).toContain('LOTUS_API_KEY is not set');
  });

  it('says why it is unfit, by ping and in the log, when the model cannot be loaded, and takes nothing', async () => {
    const upstream = path.join(SAMPLE_ROOT, 'upstream');
    const env = { LOTUS_SAMPLE: '', LOTUS_UPSTREAM_DIR: upstream, MODEL_ID: '/no/such/model' };
    const { platform, child } = await startWorker(env);
    const { exitCode, stderr } = await child;
    expect(exitCode).toBe(1);
    expect(stderr).toContain('There is no checkpoint in /no/such/model');
    const [ping] = platform.requestsTo('/ping/');
    const query = new URLSearchParams(ping?.query);
    expect([query.get('status'), query.get('check')]).toEqual(['unhealthy', 'model']);
    expect(query.get('reason')).toContain('There is no checkpoint in /no/such/model');
    expect(platform.requestsTo('/job-take')).toEqual([]);
  });

  it('ends as unfit, with nothing taken, when the model fails at its first run', async () => {
    const upstream = await brokenUpstream('raise RuntimeError("no kernel image is available")');
    const { platform, child } = await startWorker(ownUpstream(upstream));
    const { exitCode, stderr } = await child;
    expect(exitCode).toBe(1);
    expect(stderr).toContain('no kernel image is available');
    const query = new URLSearchParams(platform.requestsTo('/ping/')[0]?.query);
    expect([query.get('status'), query.get('check')]).toEqual(['unhealthy', 'model']);
    expect(platform.requestsTo('/job-take')).toEqual([]);
  });

  it('serves all the same when the first run is too large for the memory', async () => {
    const upstream = await brokenUpstream('raise torch.OutOfMemoryError("CUDA out of memory")');
    const { platform, results, end } = await startWorker(ownUpstream(upstream));
    platform.queue({ id: 'any', input: await goodInput() });
    expect(await results('any')).toMatchObject([
      { output: { code: 'out_of_memory', status: 503 } },
    ]);
    expect((await end()).exitCode).toBe(0);
  });

  it('starts a model process that died while it was idle again, before a job finds out', async () => {
    const { platform, child, until, logged, results, end } = await startWorker();
    await until(() => platform.requestsTo('/job-take').length > 0);
    const again = logged('starting the model process again');
    for (const pid of await pythonsOf(child.pid)) process.kill(pid, 'SIGKILL');
    await again;
    platform.queue({ id: 'after', input: await goodInput() });
    expect(await results('after')).toMatchObject([{ output: { model_id: 'sample' } }]);
    expect((await end()).exitCode).toBe(0);
  });

  it('runs a process for each GPU, and takes more jobs at a time for it', async () => {
    const { platform, child, logged, results, end } = await startWorker({
      CUDA_VISIBLE_DEVICES: '4,5',
    });
    await logged('taking jobs');
    const cards = (await pythonsOf(child.pid)).map(
      (pid) =>
        readFileSync(`/proc/${pid}/environ`, 'utf8').match(/CUDA_VISIBLE_DEVICES=([^\0]*)/)?.[1],
    );
    expect(cards.toSorted()).toEqual(['4', '5']);
    const ids = ['a', 'b', 'c', 'd'];
    platform.queue(
      ...(await Promise.all(ids.map(async (id) => ({ id, input: await goodInput() })))),
    );
    for (const result of await results(...ids)) {
      expect(result).toMatchObject({ output: { model_id: 'sample' } });
    }
    const takes = platform.requestsTo('/job-take').map(({ query }) => new URLSearchParams(query));
    expect(takes[0]?.get('batch_size')).toBe('4');
    expect((await end()).exitCode).toBe(0);
  });

  it('answers the job that its model process died of by running it once more', async () => {
    const { platform, child, logged, results, end } = await startWorker({
      LOTUS_LOG_LEVEL: 'trace',
    });
    await logged('taking jobs');
    const running = logged('"to":"running"');
    platform.queue({ id: 'unlucky', input: await goodInput({ processing_res: 1024 }) });
    await running;
    for (const pid of await pythonsOf(child.pid)) process.kill(pid, 'SIGKILL');
    expect(await results('unlucky')).toMatchObject([{ output: { processing_width: 1024 } }]);
    const { lines } = await end();
    expect(lines.filter(({ level }) => level === 50)).toMatchObject([
      { msg: expect.stringContaining('killed by SIGKILL') },
    ]);
  });

  it('replaces a model process that gives no sign of life, and answers what waits for it', async () => {
    const { platform, child, logged, results, end } = await startWorker({
      LOTUS_LIVENESS_TIMEOUT: '3',
    });
    await logged('taking jobs');
    for (const pid of await pythonsOf(child.pid)) process.kill(pid, 'SIGSTOP');
    platform.queue({ id: 'patient', input: await goodInput() });
    expect(await results('patient')).toMatchObject([{ output: { model_id: 'sample' } }]);
    const { exitCode, stderr } = await end();
    expect(exitCode).toBe(0);
    expect(stderr).toContain('no sign of life in 3 s');
  });

  it('ends as unfit when the model is lost for good, before a job finds out', async () => {
    const upstream = path.join(await temporaryFolder(), 'upstream');
    await cp(path.join(SAMPLE_ROOT, 'upstream'), upstream, { recursive: true });
    const { platform, child, results } = await startWorker(ownUpstream(upstream));
    platform.queue({ id: 'before', input: await goodInput() });
    await results('before');
    await rm(upstream, { recursive: true });
    for (const pid of await pythonsOf(child.pid)) process.kill(pid, 'SIGKILL');
    const { exitCode, stderr } = await child;
    expect(exitCode).toBe(1);
    expect(logLines(stderr).at(-1)).toMatchObject({ reason: 'unfit', taken: 1, delivered: 1 });
    const last = new URLSearchParams(platform.requestsTo('/ping/').at(-1)?.query);
    expect([last.get('status'), last.get('check')]).toEqual(['unhealthy', 'model']);
  });
});

/** The sample model by an upstream of the test's own. */
function ownUpstream(upstream: string): Record<string, string> {
  const checkpoint = path.join(SAMPLE_ROOT, 'checkpoint');
  return { LOTUS_SAMPLE: '', LOTUS_UPSTREAM_DIR: upstream, MODEL_ID: checkpoint };
}

/** One whose pipeline does this at every call. */
async function brokenUpstream(statement: string): Promise<string> {
  const upstream = path.join(await temporaryFolder(), 'upstream');
  await cp(path.join(SAMPLE_ROOT, 'upstream'), upstream, { recursive: true });
  const file = path.join(upstream, 'pipeline.py');
  const first = 'input_size = list(rgb_in.shape[-2:])';
  const text = await readFile(file, 'utf8');
  expect(text).toContain(first);
  await writeFile(file, text.replace(first, statement));
  return upstream;
}
