import { readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { runJob } from '../../src/job/run.ts';
import { provision } from '../../src/provision/provision.ts';
import { FOR_THE_MODEL } from '../../src/provision/steps.ts';
import type { Handler } from '../../src/runpod/handler.ts';
import { Secret } from '../../src/secret.ts';
import { jobHandler } from '../../src/serve/handler.ts';
import { Bounded } from '../../src/time/bounded.ts';
import { Model } from '../../src/worker/model.ts';
import { start } from '../cli/cli.ts';
import { KEY, serveApi } from '../http/api.ts';
import { listen, policyOf, Stage } from '../net/stage.ts';
import { said, terminate } from '../serve/rig.ts';
import { recordingLog } from '../worker/programs.ts';
import { BASE64 } from './base64.ts';
import type { Case } from './case.ts';
import { IMAGES } from './images.ts';
import { JOBS } from './jobs.ts';
import { GOOD } from './photo.ts';
import { ANSWERS, NAMES, SERVED_URLS, SERVER, URLS } from './urls.ts';

/**
 * Every case by the real handler, on the real Python process with the sample model. The internet alone is not: names
 * have the addresses that `urls.ts` says, and what would be connected to is noted, so that a hole reaches nothing.
 */
const TABLES = {
  jobs: JOBS,
  base64: BASE64,
  images: IMAGES,
  urls: URLS,
  'served urls': SERVED_URLS,
};

const { log, records } = recordingLog();
let model: Model;
let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'corpus-'));
  const env = { ...process.env, LOTUS_SAMPLE: '1', LOTUS_SCRATCH_DIR: path.join(dir, 'scratch') };
  const config = readConfig(env);
  const { made } = await provision({ config, env, steps: FOR_THE_MODEL, observer: {} });
  model = await Model.start({ config, installation: made, env, log });
});
afterAll(async () => {
  await model?.stop();
  await rm(dir, { recursive: true, force: true });
});

/** A handler of this test's, with its own internet. */
async function rig(): Promise<{ handler: Handler; stage: Stage }> {
  const port = await listen(net.createServer(answer));
  const stage = new Stage(port, NAMES as Record<string, string[]>);
  const context = {
    apiKey: new Secret(KEY),
    model,
    modelName: 'sample',
    prediction: 'disparity' as const,
    outputDir: path.join(dir, 'output'),
    makeOutputDir: async () => {},
    saves: new Bounded({ waitMs: 60_000, maxHanging: 1 }),
    fetch: policyOf({ maxBytes: 200_000, timeoutMs: 1000 }),
    network: stage,
    uploads: { bucket: null, timeoutMs: 1000 },
  };
  const run: Parameters<typeof jobHandler>[0]['run'] = (job, request) =>
    runJob(job, { ...context, ...request });
  return { handler: jobHandler({ run, log }), stage };
}

/** The server of `ANSWERS`. */
function answer(socket: net.Socket): void {
  socket.once('data', (request) => {
    const served = ANSWERS.get(String(request).split(' ')[1] ?? '');
    if (served?.isHanging) socket.write(served.answer);
    else socket.end(served?.answer ?? 'HTTP/1.1 500 Internal Server Error\r\n\r\n');
  });
}

const NEVER = new AbortController().signal;
const CONTEXT = { signal: NEVER, progress: () => {}, maxOutputBytes: 10_000_000 };
const keyed = ({ input }: Case) => {
  const withKey = Object.create(null, Object.getOwnPropertyDescriptors(input));
  return { ...withKey, api_key: KEY };
};

/** The files, sockets and pipes that a process has open. */
function openDescriptors(pid: number | 'self' = 'self'): string[] {
  return readdirSync(`/proc/${pid}/fd`)
    .flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
      } catch {
        return []; // that of the listing itself
      }
    })
    .toSorted();
}

describe.each(Object.entries(TABLES))('the corpus of %s', (table, cases) => {
  it.each(cases)('$name', async (one) => {
    const { handler, stage } = await rig();
    const result = (await handler({ id: 'corpus', input: keyed(one) }, CONTEXT)) as Answer;
    expect(result.code ?? null).toBe(one.code);
    if (one.code === null) expect(result.image_base64).toMatch(/^iVBOR/);
    else expect(result).toEqual({ error: expect.any(String), status: 400, code: one.code });
    expect(result.error?.length ?? 0).toBeLessThan(2500);
    const connected = new Set(stage.dialled.flatMap(({ addresses }) => addresses));
    expect([...connected]).toEqual(table === 'served urls' ? [SERVER] : []);
  });
});

interface Answer {
  error?: string;
  status?: number;
  code?: string;
  image_base64?: string;
}

/** Cases as bodies. JSON.parse reads deeper than JSON.stringify writes: `test/http/strangers.test.ts` has such bodies. */
function bodiesOf(cases: readonly Case[], more: Record<string, unknown> = {}) {
  return cases.flatMap(({ name, input, code }) => {
    try {
      const whole = Object.defineProperties({ ...more }, Object.getOwnPropertyDescriptors(input));
      return [{ name, code, body: JSON.stringify({ input: whole }) }];
    } catch {
      return [];
    }
  });
}

describe('the corpus by HTTP', () => {
  const cases = bodiesOf(Object.values(TABLES).flat());

  it('ends in a result or a refusal, all of it, and leaves nothing behind', async () => {
    const { handler } = await rig();
    const api = await serveApi({ handler });
    const ask = (body: string) => post(`${api.url}/runsync`, body, { 'lotus-api-key': KEY });
    const good = JSON.stringify({ input: GOOD });
    await ask(good); // so that what is opened once is open
    const before = openDescriptors();
    for (const { name, code, body } of cases) {
      const outcome = outcomeOf(await ask(body));
      expect([name, [code, 'refused']]).toEqual([name, expect.arrayContaining([outcome])]);
      if (code === null) expect([name, outcome]).toEqual([name, null]);
    }
    expect(outcomeOf(await ask(good))).toBe(null);
    expect(model.restarts).toBe(0);
    const left = () => openDescriptors().filter((descriptor) => !before.includes(descriptor));
    await vi.waitFor(() => expect(left()).toEqual([]), { timeout: 60_000 });
  });

  it('leaves no file but the pictures', async () => {
    const [scratch = '', ...others] = await readdir(path.join(dir, 'scratch'));
    expect(others).toEqual([]);
    expect(await readdir(path.join(dir, 'scratch', scratch))).toEqual([]);
    const names = await readdir(path.join(dir, 'output'));
    expect(names.filter((name) => !/^[\w-]+\.(png|npy)$/.test(name))).toEqual([]);
  });

  it('leaves no key and no error of ours in the log', () => {
    expect(JSON.stringify(records)).not.toContain(KEY);
    expect(records.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });

  /** Node ends when it needs more. A fifth of this holds the largest body and what is made of it. */
  it('is survived by a server that may not have more than 384 MB of heap', async () => {
    const env = { LOTUS_API_KEY: KEY, NODE_OPTIONS: '--max-old-space-size=384' };
    const child = start(['serve', '--no-warmup', '--port', '0'], env);
    onTestFinished(() => void child.kill('SIGKILL'));
    const [url = ''] =
      /http:\S+/.exec(await said(child.stdout, (text) => text.includes('\n'))) ?? [];
    const ask = async (body: string) => {
      const answered = await post(`${url}/runsync?wait=290000`, body);
      const { files = [] } = answered.json.output ?? {};
      for (const { file_path } of files) await rm(file_path); // their folder is not the test's own
      return outcomeOf(answered);
    };
    const [good] = bodiesOf([{ name: 'good', input: GOOD, code: null }], { api_key: KEY });
    expect(await ask(good?.body ?? '')).toBe(null);
    const before = openDescriptors(child.pid).length;
    // What names the network is not among them: this server has the real one.
    for (const { name, code, body } of bodiesOf([...JOBS, ...BASE64], { api_key: KEY })) {
      expect([name, [code, 'refused']]).toEqual([name, expect.arrayContaining([await ask(body)])]);
    }
    expect(await ask(good?.body ?? '')).toBe(null);
    await vi.waitFor(() => expect(openDescriptors(child.pid).length).toBeLessThanOrEqual(before), {
      timeout: 60_000,
    });
    terminate(child);
    expect((await child).exitCode).toBe(0);
  });
});

interface Answered {
  status: number;
  json: { status?: string | number; output?: { code?: string; files?: { file_path: string }[] } };
}

/** By a connection that is not kept, so that none is open when it was answered. */
async function post(url: string, body: string, headers = {}): Promise<Answered> {
  const answered = await request(url, { method: 'POST', body, headers, reset: true });
  return { status: answered.statusCode, json: (await answered.body.json()) as Answered['json'] };
}

/** A job's code, null for a result; `refused` by the API itself, with a 4xx. */
function outcomeOf({ status, json }: Answered): string | null {
  if (status !== 200) return status >= 400 && status < 500 ? 'refused' : `HTTP ${status}`;
  return json.status === 'COMPLETED' ? null : (json.output?.code ?? 'no code');
}
