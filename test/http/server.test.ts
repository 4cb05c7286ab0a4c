import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { z } from 'zod';
import { type Api, heldHandler, KEY, serveApi } from './api.ts';

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-u1$/;
const BEARER = { authorization: `Bearer ${KEY}` };

const runSync = (api: Api, input: unknown, more = {}) =>
  api.ask('POST', '/runsync', { input, ...more });
const run = async (api: Api, input: unknown, more = {}): Promise<string> => {
  const { status, json } = await api.ask('POST', '/run', { input, ...more });
  expect(status).toBe(200);
  return json.id;
};

describe('POST /runsync', () => {
  it('answers with the result', async () => {
    const api = await serveApi();
    const { status, json } = await runSync(api, { do: 'echo', text: 'hello' });
    expect(status).toBe(200);
    expect(json).toEqual({
      id: expect.stringMatching(/^sync-/),
      status: 'COMPLETED',
      delayTime: expect.any(Number),
      executionTime: expect.any(Number),
      output: { input: { do: 'echo', text: 'hello' }, timings_ms: { unet: 12, total: 20 } },
    });
    expect(json.id.replace('sync-', '')).toMatch(ID);
  });

  it("answers a failure as the queue does: its text beside the rest of the handler's answer", async () => {
    const api = await serveApi();
    expect(await runSync(api, { do: 'fail' })).toMatchObject({
      status: 200,
      json: {
        status: 'FAILED',
        error: 'There is no image: send image_base64 or image_url.',
        output: { status: 400, code: 'no_image' },
      },
    });
    expect(await runSync(api, { do: 'throw' })).toMatchObject({
      json: { status: 'FAILED', error: 'it fell over' },
    });
  });

  it('answers after the time to wait with a job that goes on', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const asked = api.ask('POST', '/runsync?wait=1000', { input: {} });
    const held = await next();
    const { json } = await asked;
    expect(json).toMatchObject({ id: held.job.id, status: 'IN_PROGRESS' });
    const waiting = api.ask('GET', `/status-sync/${json.id}?wait=60000`);
    held.finish({ done: true });
    expect((await waiting).json).toMatchObject({ status: 'COMPLETED', output: { done: true } });
  });

  it.each([0, 999, 300_001, 'soon'])('refuses to wait for %s ms', async (wait) => {
    const api = await serveApi();
    const answer = await api.ask('POST', `/runsync?wait=${wait}`, { input: {} });
    expect(answer).toMatchObject({ status: 400, json: { code: 'invalid_request', status: 400 } });
  });
});

describe('POST /run', () => {
  it('gives an id at once; /status follows the job', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const first = await run(api, { a: 1 });
    const second = await run(api, { a: 2 });
    expect(first).toMatch(ID);
    const status = async (id: string) => (await api.ask('GET', `/status/${id}`)).json;
    const held = await next();
    expect(await status(first)).toEqual({
      id: first,
      status: 'IN_PROGRESS',
      delayTime: expect.any(Number),
    });
    expect(await status(second)).toEqual({ id: second, status: 'IN_QUEUE' });
    held.context.progress({ fraction: 0.5 });
    expect(await status(first)).toMatchObject({ status: 'IN_PROGRESS', output: { fraction: 0.5 } });
    held.finish('text is a result too');
    await next();
    expect(await status(first)).toMatchObject({
      status: 'COMPLETED',
      output: 'text is a result too',
    });
    expect((await api.ask('POST', `/status/${second}`)).json).toMatchObject({
      status: 'IN_PROGRESS',
    });
  });

  it('gives the handler the job as it came, with its headers and without credentials', async () => {
    const api = await serveApi();
    const body = {
      input: { seed: 1 },
      policy: { executionTimeout: 5000, ttl: null, lowPriority: true },
      s3Config: { bucketName: 'b' },
      id: 'mine',
      http: { headers: { 'lotus-api-key': 'forged' } },
    };
    const headers = {
      ...BEARER,
      cookie: 'a=b',
      'x-mine': 'yes',
      'content-type': 'application/json',
    };
    const { json } = await api.ask('POST', '/runsync', body, headers);
    const { job } = json.output;
    expect(job).toMatchObject({
      id: json.id,
      policy: { executionTimeout: 5000, lowPriority: true },
      s3Config: { bucketName: 'b' },
    });
    expect(job.http.headers).toMatchObject({ 'lotus-api-key': KEY, 'x-mine': 'yes' });
    expect(job.http.headers).not.toHaveProperty('cookie');
    expect(job.http.headers).not.toHaveProperty('authorization');
  });

  it('takes JSON whatever its type is said to be', async () => {
    const api = await serveApi();
    const headers = { ...BEARER, 'content-type': 'application/x-www-form-urlencoded' };
    const { status } = await api.ask('POST', '/run', '{"input": {"do": "echo"}}', headers);
    expect(status).toBe(200);
  });

  it.each([
    ['nothing', ''],
    ['no JSON', '{"input": '],
    ['no input', '{}'],
    ['an input that is null', '{"input": null}'],
    ['a list', '[]'],
    ['text', '"input"'],
    ['null', 'null'],
    ['a policy that is none', '{"input": {}, "policy": 5}'],
    ['a time that is none', '{"input": {}, "policy": {"executionTimeout": -1}}'],
    ['a time without end', '{"input": {}, "policy": {"ttl": 1e99}}'],
    ['a webhook that is none', '{"input": {}, "webhook": 5}'],
  ])('refuses %s', async (_what, body) => {
    const api = await serveApi();
    for (const path of ['/run', '/runsync']) {
      expect(await api.ask('POST', path, body)).toMatchObject({
        status: 400,
        json: { error: expect.stringMatching(/\w/), status: 400, code: 'invalid_request' },
      });
    }
  });

  it('refuses a body that is too large, by what it says and by what it sends', async () => {
    const api = await serveApi({ limits: { maxBytes: 1000, maxSyncBytes: 2000 } });
    const large = { input: { text: 'x'.repeat(1500) } };
    const tooLarge = { status: 413, json: { code: 'body_too_large', status: 413 } };
    expect(await api.ask('POST', '/run', large)).toMatchObject(tooLarge);
    expect(await api.ask('POST', '/runsync', large)).toMatchObject({ status: 200 });
    const chunked = await fetch(`${api.url}/run`, {
      method: 'POST',
      headers: BEARER,
      body: new Blob([JSON.stringify(large)]).stream(),
      duplex: 'half',
    } as RequestInit);
    expect(chunked.status).toBe(413);
    expect(await api.ask('POST', '/cancel/x', { text: 'x'.repeat(5000) })).toMatchObject(tooLarge);
  });

  it('refuses more jobs than may wait, by number and by size', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler, limits: { maxQueued: 2, maxQueuedBytes: 5000 } });
    await run(api, {});
    await next();
    await run(api, {});
    const full = { status: 429, json: { code: 'queue_full', status: 429 } };
    expect(await api.ask('POST', '/run', { input: { text: 'x'.repeat(5000) } })).toMatchObject(
      full,
    );
    await run(api, {});
    const answer = await api.ask('POST', '/run', { input: {} });
    expect(answer).toMatchObject(full);
    expect(answer.headers.get('retry-after')).toBe('1');
  });

  it('runs as many at once as it may', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler, limits: { concurrency: 2 } });
    for (const n of [1, 2, 3]) await run(api, { n });
    const [one] = [await next(), await next()];
    expect(api.queue.counts).toMatchObject({ inProgress: 2, inQueue: 1 });
    one.finish({});
    expect((await next()).job.input).toEqual({ n: 3 });
  });
});

describe('a result', () => {
  it('is forgotten after its time', async () => {
    const api = await serveApi({ limits: { keepMs: 60_000, keepSyncMs: 0 } });
    const { json } = await runSync(api, { do: 'echo' });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await api.ask('GET', `/status/${json.id}`)).toMatchObject({
      status: 404,
      json: { code: 'not_found', status: 404 },
    });
  });

  it('makes room for others, by number', async () => {
    const api = await serveApi({ limits: { maxKept: 2 } });
    const ids: string[] = [];
    for (const n of [1, 2, 3]) ids.push((await runSync(api, { do: 'echo', n })).json.id);
    const found = ids.map(async (id) => (await api.ask('GET', `/status/${id}`)).status);
    expect(await Promise.all(found)).toEqual([404, 200, 200]);
  });

  it('makes room for others, by size', async () => {
    const api = await serveApi({ limits: { maxKeptBytes: 3000 } });
    const ids: string[] = [];
    for (const n of [1, 2]) {
      ids.push((await runSync(api, { do: 'echo', n, text: 'x'.repeat(2000) })).json.id);
    }
    const found = ids.map(async (id) => (await api.ask('GET', `/status/${id}`)).status);
    expect(await Promise.all(found)).toEqual([404, 200]);
  });

  it('that is too large fails the job', async () => {
    const limits = { maxOutputBytes: 2000, maxSyncOutputBytes: 3000 };
    const api = await serveApi({ limits, handler: async () => 'x'.repeat(3000) });
    const { json } = await runSync(api, {});
    expect(json).toMatchObject({
      status: 'FAILED',
      error: expect.stringContaining('3000 are allowed'),
    });
  });

  it('may have all that the handler was told that it may have', async () => {
    const api = await serveApi({
      limits: { maxOutputBytes: 2000, maxSyncOutputBytes: 3000 },
      handler: async (_job, { maxOutputBytes }) => 'x'.repeat(maxOutputBytes - 2), // in quotes
    });
    expect((await runSync(api, {})).json).toMatchObject({ status: 'COMPLETED' });
    const id = await run(api, {});
    const { json } = await api.ask('GET', `/status-sync/${id}`);
    expect(json).toMatchObject({ status: 'COMPLETED' });
  });

  it.each([
    ['an error that is none', { error: null, a: 1 }, { status: 'COMPLETED', output: { a: 1 } }],
    ['an error alone', { error: 'no' }, { status: 'FAILED', error: 'no' }],
    ['an error that is no text', { error: { n: 7 } }, { status: 'FAILED', error: '{"n":7}' }],
    [
      'a wish for a fresh worker',
      { a: 1, refresh_worker: true },
      { status: 'COMPLETED', output: { a: 1 } },
    ],
    ['nothing in it', {}, { status: 'COMPLETED' }],
    ['no value', undefined, { status: 'COMPLETED', output: null }],
    ['a list', [1], { status: 'COMPLETED', output: [1] }],
  ])('with %s is what it is on the queue', async (_what, value, shown) => {
    const api = await serveApi({ handler: async () => value });
    const { id, delayTime, executionTime, ...rest } = (await runSync(api, {})).json;
    expect(rest).toEqual(shown);
  });

  it('that is no JSON fails the job', async () => {
    const endless: Record<string, unknown> = {};
    endless.self = endless;
    const api = await serveApi({ handler: async () => endless });
    expect((await runSync(api, {})).json).toMatchObject({ status: 'FAILED' });
  });
});

describe('POST /cancel', () => {
  it('stops a job that runs, by its signal, and keeps its slot until it has ended', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const [first, second] = [await run(api, { n: 1 }), await run(api, { n: 2 })];
    const held = await next();
    const { json } = await api.ask('POST', `/cancel/${first}`, '');
    expect(json).toMatchObject({ id: first, status: 'CANCELLED', delayTime: expect.any(Number) });
    expect(held.context.signal.reason).toMatchObject({ name: 'JobStopped', why: 'stopped' });
    expect((await api.ask('GET', `/status/${second}`)).json).toMatchObject({ status: 'IN_QUEUE' });
    held.finish({ late: true });
    await next();
    const late = (await api.ask('GET', `/status/${first}`)).json;
    expect(late.status).toBe('CANCELLED');
    expect(late).not.toHaveProperty('output');
  });

  it('takes a job out of the queue', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    await run(api, { n: 1 });
    const held = await next();
    const second = await run(api, { n: 2 });
    const third = await run(api, { n: 3 });
    await api.ask('POST', `/cancel/${second}`);
    held.finish({});
    expect((await next()).job.id).toBe(third);
  });

  it('leaves a job alone that has ended', async () => {
    const api = await serveApi();
    const { json } = await runSync(api, { do: 'echo' });
    const { json: cancelled } = await api.ask('POST', `/cancel/${json.id}`, {});
    expect(cancelled).toMatchObject({ status: 'COMPLETED' });
  });
});

describe('a time limit', () => {
  it('of its policy stops a job that runs', async () => {
    const api = await serveApi();
    const { json } = await runSync(api, { do: 'wait' }, { policy: { executionTimeout: 20 } });
    expect(json).toMatchObject({
      status: 'TIMED_OUT',
      error: expect.stringContaining('as long as it may'),
    });
  });

  it('of its life takes a job out of the queue', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    await run(api, {});
    await next();
    const { json } = await runSync(api, {}, { policy: { ttl: 20 } });
    expect(json).toMatchObject({ status: 'TIMED_OUT' });
    expect(api.queue.counts).toMatchObject({ inQueue: 0, inProgress: 1, failed: 1 });
  });

  it('is forgotten with its job', async () => {
    const timers = () =>
      process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length;
    const api = await serveApi({ limits: { concurrency: 100 } });
    const before = timers();
    for (let n = 0; n < 50; n += 1) await runSync(api, { do: 'echo' });
    expect(timers()).toBeLessThan(before + 25);
  });

  it('of the server counts where the policy has none', async () => {
    const api = await serveApi({ limits: { executionMs: 20 } });
    expect((await runSync(api, { do: 'wait' })).json).toMatchObject({ status: 'TIMED_OUT' });
  });
});

describe('GET /stream', () => {
  it('gives each report once, and the result at the end', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const id = await run(api, {});
    const held = await next();
    const read = async (method = 'GET') => (await api.ask(method, `/stream/${id}`)).json;
    const waiting = read();
    held.context.progress({ step: 1 });
    expect(await waiting).toEqual({ id, status: 'IN_PROGRESS', stream: [{ output: { step: 1 } }] });
    held.context.progress({ step: 2 });
    held.context.progress({ step: 3 });
    expect((await read('POST')).stream).toEqual([{ output: { step: 2 } }, { output: { step: 3 } }]);
    held.finish({ all: 3 });
    expect((await read()).stream).toEqual([{ output: { all: 3 } }]);
    expect(await read()).toEqual({ id, status: 'COMPLETED', stream: [] });
    held.context.progress({ step: 4 });
    expect((await read()).stream).toEqual([]);
  });

  it('answers empty after a while when there is nothing', async () => {
    const { handler } = heldHandler();
    const api = await serveApi({ handler, limits: { streamWaitMs: 20 } });
    const id = await run(api, {});
    expect((await api.ask('GET', `/stream/${id}`)).json.stream).toEqual([]);
  });

  it('keeps the last hundred of a job that nobody listens to', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const id = await run(api, {});
    const held = await next();
    for (let n = 0; n < 500; n += 1) held.context.progress(n);
    const { stream } = (await api.ask('GET', `/stream/${id}`)).json;
    expect([stream.length, stream[0], stream.at(-1)]).toEqual([
      100,
      { output: 400 },
      { output: 499 },
    ]);
  });
});

describe('POST /retry', () => {
  it('runs a job again that has failed, under its id', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const id = await run(api, { seed: 3 });
    (await next()).finish({ error: 'out of memory' });
    await api.ask('GET', `/status-sync/${id}`);
    expect((await api.ask('POST', `/retry/${id}`)).json).toEqual({
      id,
      status: expect.stringMatching(/^IN_/),
    });
    const again = await next();
    expect(again.job).toMatchObject({ id, input: { seed: 3 } });
    again.finish({ fine: true });
    const { json } = await api.ask('GET', `/status-sync/${id}`);
    expect(json).toMatchObject({ status: 'COMPLETED', output: { fine: true } });
    expect(json).not.toHaveProperty('error');
    expect((await api.ask('GET', '/health')).json.jobs).toMatchObject({
      retried: 1,
      failed: 1,
      completed: 1,
    });
  });

  it('waits for a handler that was stopped and has not returned', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const { json } = await runSync(api, {}, { policy: { executionTimeout: 20 } });
    expect(json.status).toBe('TIMED_OUT');
    const retry = () => api.ask('POST', `/retry/${json.id}`);
    expect(await retry()).toMatchObject({ status: 400, json: { code: 'not_retryable' } });
    (await next()).finish({ late: true });
    await vi.waitFor(() => expect(api.queue.counts.inProgress).toBe(0));
    expect((await retry()).status).toBe(200);
  });

  it('does nothing for a job that is well', async () => {
    const api = await serveApi();
    const { json } = await runSync(api, { do: 'echo' });
    expect(await api.ask('POST', `/retry/${json.id}`)).toMatchObject({
      status: 400,
      json: { code: 'not_retryable' },
    });
  });
});

describe('POST /purge-queue', () => {
  it('cancels what waits and not what runs', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const ids = [await run(api, {}), await run(api, {}), await run(api, {})];
    await next();
    expect((await api.ask('POST', '/purge-queue', '')).json).toEqual({
      removed: 2,
      status: 'completed',
    });
    const statuses = ids.map(async (id) => (await api.ask('GET', `/status/${id}`)).json.status);
    expect(await Promise.all(statuses)).toEqual(['IN_PROGRESS', 'CANCELLED', 'CANCELLED']);
  });
});

describe('GET /health and /ping', () => {
  it('tell loading from ready', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const api = await serveApi({ ready: promise, limits: { concurrency: 2 } });
    const id = await run(api, { do: 'echo' });
    expect(await api.ask('GET', '/ping', undefined, {})).toMatchObject({ status: 204, json: '' });
    expect((await api.ask('GET', '/health')).json).toEqual({
      jobs: { completed: 0, failed: 0, inProgress: 0, inQueue: 1, retried: 0 },
      workers: { idle: 0, initializing: 2, ready: 0, running: 0, throttled: 0 },
    });
    resolve();
    await api.ask('GET', `/status-sync/${id}`);
    expect(await api.ask('GET', '/ping', undefined, {})).toMatchObject({ status: 200 });
    expect((await api.ask('GET', '/health')).json).toEqual({
      jobs: { completed: 1, failed: 0, inProgress: 0, inQueue: 0, retried: 0 },
      workers: { idle: 2, initializing: 0, ready: 2, running: 0, throttled: 0 },
    });
  });
});

describe('a server whose model is down for a while', () => {
  it('says so, keeps what comes, and runs it when the model is back, as many at a time as it then can', async () => {
    const api = await serveApi({ limits: { concurrency: 2 } });
    await runSync(api, { do: 'echo' });
    api.queue.pause();
    expect(await api.ask('GET', '/ping', undefined, {})).toMatchObject({ status: 204 });
    const id = await run(api, { do: 'echo' });
    expect((await api.ask('GET', '/health')).json).toMatchObject({
      jobs: { inQueue: 1, inProgress: 0 },
      workers: { idle: 0, initializing: 2, ready: 0 },
    });
    api.queue.resume(5);
    expect((await api.ask('GET', `/status-sync/${id}`)).json).toMatchObject({
      status: 'COMPLETED',
    });
    expect((await api.ask('GET', '/health')).json).toMatchObject({ workers: { ready: 5 } });
  });
});

describe('GET /metrics', () => {
  it('counts jobs, stages and bytes', async () => {
    const api = await serveApi({ restarts: () => 3 });
    await runSync(api, { do: 'echo' });
    await runSync(api, { do: 'fail' });
    const { json: text } = await api.ask('GET', '/metrics');
    for (const line of [
      'lotus_worker_jobs_total{outcome="COMPLETED",code=""} 1',
      'lotus_worker_jobs_total{outcome="FAILED",code="no_image"} 1',
      'lotus_worker_job_stage_seconds_sum{stage="unet"} 0.012',
      'lotus_worker_job_execution_seconds_count 2',
      'lotus_worker_jobs_queued 0',
      'lotus_worker_jobs_running 0',
      'lotus_worker_model_restarts 3',
      'lotus_worker_ready 1',
      `lotus_worker_received_bytes_total ${[{ do: 'echo' }, { do: 'fail' }].map((input) => JSON.stringify({ input }).length).reduce((a, b) => a + b)}`,
    ]) {
      expect(text).toContain(line);
    }
    expect(text).toMatch(/lotus_worker_sent_bytes_total [1-9]/);
  });
});

describe('GET /openapi.json', () => {
  it('describes every route once, without the prefixes', async () => {
    const api = await serveApi();
    const { json } = await api.ask('GET', '/openapi.json');
    expect(json.openapi).toBe('3.1.0');
    expect(Object.keys(json.paths).toSorted()).toEqual([
      '/cancel/{id}',
      '/health',
      '/ping',
      '/purge-queue',
      '/retry/{id}',
      '/run',
      '/runsync',
      '/status-sync/{id}',
      '/status/{id}',
      '/stream/{id}',
    ]);
  });
});

describe('the document of /openapi.json', () => {
  it('says what the handler takes, and leaves judging it to the handler', async () => {
    const input = z.strictObject({
      seed: z.int().default(3).meta({ description: 'Of the noise' }),
    });
    const api = await serveApi({ input });
    const { json } = await api.ask('GET', '/openapi.json');
    const body = json.paths['/run'].post.requestBody.content['application/json'].schema;
    expect(body.required).toEqual(['input']);
    expect(body.properties.input).toMatchObject({
      type: 'object',
      properties: { seed: { type: 'integer', default: 3, description: 'Of the noise' } },
    });
    expect((await api.ask('POST', '/run', { input: 'nonsense' })).status).toBe(200);
  });
});

describe('a path with an endpoint id before it', () => {
  it.each(['/v2/my-endpoint', '/my-endpoint'])('is the same: %s', async (prefix) => {
    const api = await serveApi();
    const { json } = await api.ask('POST', `${prefix}/runsync`, { input: { do: 'echo' } });
    expect(json.status).toBe('COMPLETED');
    for (const path of [`/status/${json.id}`, `/stream/${json.id}`, '/health', '/ping']) {
      expect((await api.ask('GET', `${prefix}${path}`)).status, path).toBe(200);
    }
    expect((await api.ask('POST', `${prefix}/cancel/${json.id}`)).status).toBe(200);
    expect((await api.ask('POST', `${prefix}/purge-queue`)).status).toBe(200);
    expect((await api.ask('GET', `${prefix}/health`, undefined, {})).status).toBe(401);
  });
});

describe('what is not there', () => {
  it.each([
    ['GET', '/'],
    ['GET', '/run'],
    ['PUT', '/run'],
    ['GET', '/status'],
    ['GET', `/status/${'x'.repeat(1000)}`],
    ['GET', '/status/unknown'],
    ['GET', '/status/..%2f..%2fetc%2fpasswd'],
    ['GET', '/v3/my/health'],
    ['DELETE', '/cancel/unknown'],
  ])('is a 404: %s %s', async (method, path) => {
    const api = await serveApi();
    const answer = await api.ask(method, path);
    expect(answer).toMatchObject({ status: 404, json: { code: 'not_found', status: 404 } });
  });
});

describe('an address that cannot be listened at', () => {
  it.each([
    ['is taken', '127.0.0.1', 'EADDRINUSE'],
    ['is not this machine’s', '192.0.2.1', 'EADDRNOTAVAIL'],
  ])('that %s is said, with the reason', async (_how, host, code) => {
    const port = Number(new URL((await serveApi()).url).port);
    await expect(serveApi({ host, port })).rejects.toMatchObject({
      name: 'UsageError',
      message: expect.stringContaining(`cannot listen at ${host}:${port}: `),
      cause: { code },
    });
  });

  it('is not blamed for what is wrong with a schema', async () => {
    const input = z.lazy(() => {
      throw new TypeError('a bug');
    });
    await expect(serveApi({ input })).rejects.toThrow(new TypeError('a bug'));
  });
});

describe('the end', () => {
  it('lets what runs finish, answers whoever waits, and takes nothing more', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const running = runSync(api, { n: 1 });
    const held = await next();
    const waiting = runSync(api, { n: 2 });
    await vi.waitFor(() => expect(api.queue.counts.inQueue).toBe(1));
    const closed = api.close(60_000);
    expect(await waiting).toMatchObject({
      json: { status: 'FAILED', error: 'The server is shutting down.' },
    });
    expect(await api.ask('POST', '/run', { input: {} })).toMatchObject({
      status: 503,
      json: { code: 'shutting_down' },
    });
    held.finish({ done: true });
    expect(await running).toMatchObject({ json: { status: 'COMPLETED', output: { done: true } } });
    await closed;
    await expect(api.ask('GET', '/ping')).rejects.toThrow();
  });

  it('stops what does not finish in time, also a handler that does not listen', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const running = runSync(api, {});
    const held = await next();
    await api.close(20);
    expect(held.context.signal.reason).toMatchObject({ name: 'JobStopped', why: 'shutdown' });
    expect((await running).json).toMatchObject({ status: 'FAILED' });
  });
});

describe('the end, with clients that keep their connections', () => {
  /** None of what cuts connections off comes in time. */
  const limits = { lastAnswersMs: 600_000, idleMs: 600_000 };

  /** One connection, that is kept when it was answered. */
  function keepingClient(api: Api) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    return async (path: string, body?: string) => {
      const method = body === undefined ? 'GET' : 'POST';
      const sent = http.request(`${api.url}${path}`, { agent, method, headers: BEARER }).end(body);
      const [answer] = (await once(sent, 'response')) as [http.IncomingMessage];
      return JSON.parse(await text(answer)) as { status: string };
    };
  }

  it('does not wait for one that is idle', async () => {
    const api = await serveApi({ limits });
    const ask = keepingClient(api);
    await ask('/health');
    await api.close(0);
    await expect(ask('/health')).rejects.toThrow();
  });

  it.each([
    ['ends in time', 600_000],
    ['does not', 0],
  ])('answers one whose /runsync %s, and waits no longer', async (_how, graceMs) => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler, limits });
    const ask = keepingClient(api);
    await ask('/health');
    const asked = ask('/runsync', '{"input": {}}');
    const held = await next();
    const closed = api.close(graceMs);
    if (graceMs > 0) held.finish({ done: true });
    expect(await asked).toMatchObject({ status: graceMs > 0 ? 'COMPLETED' : 'FAILED' });
    await closed;
  });

  it.each([
    ['has asked nothing yet', ''],
    ['is still asking', 'POST /run HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{'],
  ])('cuts off one that %s', async (_how, said) => {
    const api = await serveApi({ limits: { ...limits, lastAnswersMs: 20 } });
    const socket = net.connect(Number(new URL(api.url).port), '127.0.0.1');
    socket.on('error', () => {}); // it is cut off
    const closed = once(socket, 'close');
    await once(socket, 'connect');
    socket.write(said);
    await api.ask('GET', '/ping'); // so that it has come in
    await api.close(0);
    await closed;
  });
});

describe('a report that is no JSON', () => {
  it('is dropped', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const id = await run(api, {});
    const held = await next();
    held.context.progress({ step: 1 });
    held.context.progress({ step: 2n });
    expect((await api.ask('GET', `/status/${id}`)).json).toMatchObject({ output: { step: 1 } });
  });
});

describe('a client that is slow or strange', () => {
  const dial = (api: Api) => net.connect(Number(new URL(api.url).port), '127.0.0.1');
  async function said(socket: net.Socket): Promise<string> {
    let text = '';
    for await (const chunk of socket) text += chunk;
    return text;
  }

  it.each([
    ['its headers', 'GET /health HTTP/1.1\r\nHost: a\r\nX-A'],
    [
      'its body',
      `POST /run HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${KEY}\r\nContent-Length: 99\r\n\r\n{`,
    ],
  ])('with %s is sent away', async (_what, text) => {
    const api = await serveApi({ limits: { headersMs: 200, requestMs: 300 } });
    const socket = dial(api);
    socket.write(text);
    expect(await said(socket)).toContain('408');
  });

  it.each([
    'nonsense\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    `GET / HTTP/1.1\r\nX: ${'a'.repeat(40_000)}\r\n\r\n`,
  ])('is answered 4xx and the server goes on', async (text) => {
    const api = await serveApi();
    const socket = dial(api);
    socket.on('error', () => {});
    socket.end(text);
    expect(await said(socket)).toMatch(/^HTTP\/1.1 4/);
    expect((await api.ask('GET', '/ping')).status).toBe(200);
  });

  it('does not hold up the end', async () => {
    const api = await serveApi({ limits: { lastAnswersMs: 50 } });
    const socket = dial(api);
    socket.on('error', () => {}); // it is cut off
    await once(socket.setNoDelay(), 'connect');
    socket.write('GET /health HTTP/1.1\r\nHost: a\r\nX-A');
    await api.ask('GET', '/ping'); // so that it has come in
    await api.close(0);
    expect(await said(socket).catch(() => '')).toBe('');
  });

  it('that goes away leaves its job running', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const request = http.request(`${api.url}/runsync`, { method: 'POST', headers: BEARER });
    request.on('error', () => {});
    request.end('{"input": {}}');
    const held = await next();
    request.destroy();
    held.finish({ done: true });
    const { json } = await api.ask('GET', `/status-sync/${held.job.id}`);
    expect(json).toMatchObject({ status: 'COMPLETED' });
  });
});
