import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { Interruption } from '../../src/errors.ts';
import { flashAttnStep, hasNvidiaGpu } from '../../src/provision/flash-attn.ts';
import { proveFlashAttn } from '../../src/provision/flash-proof.ts';
import { makeSteps, ready, type Step } from '../../src/provision/step.ts';
import { makeWheel } from '../fixtures/provision/chaos-workspace.ts';

/** With the real torch, which a wheel is held against. */
const PYTHON = path.join(readConfig(process.env).workspace, 'venv', 'bin', 'python');
const HOUR = 3_600_000;

let wheels = '';
let good = '';
let bad = '';
beforeAll(async () => {
  wheels = await mkdtemp(path.join(os.tmpdir(), 'flash-attn-wheels-'));
  const code = 'def flash_attn_func(q, k, v): return q\n';
  good = (await makeWheel(path.join(wheels, 'good'), 'flash_attn', '2.8.3', code)).file;
  const broken = 'raise ImportError("libcudart.so.12: no such file")\n';
  bad = (await makeWheel(path.join(wheels, 'bad'), 'flash_attn', '2.8.3', broken)).file;
});
afterAll(() => rm(wheels, { recursive: true, force: true }));

let workspace = '';
beforeEach(async () => {
  workspace = await mkdtemp(path.join(os.tmpdir(), 'flash-attn-test-'));
  onTestFinished(() => rm(workspace, { recursive: true, force: true }));
});

const folder = () => path.join(workspace, 'flash-attn');
const noteFile = () => path.join(folder(), 'wheel.json');
const note = async () => JSON.parse(await readFile(noteFile(), 'utf8'));

async function provide(
  flashAttn: string,
  patience?: { silence: number; whole: number },
  more: { env?: Record<string, string>; signal?: AbortSignal } = {},
) {
  const env = {
    ...{ ...process.env, ...more.env },
    ...{ WORKSPACE: workspace, LOTUS_FLASH_ATTN: flashAttn },
  };
  const config = readConfig(env);
  const venv: Step = {
    name: 'venv',
    check: async () => ready('the real one', { python: PYTHON }),
    make: () => expect.unreachable('it is there'),
  };
  const said: string[] = [];
  const step = flashAttnStep({ config, env, patience, signal: more.signal });
  const { outcomes, made } = await makeSteps([venv, step], {
    said: (_name, line) => said.push(line),
  });
  const { state, what } = outcomes[1] ?? {};
  return { state, what, said, flashAttn: made.flashAttn };
}

/** A server of wheels, and where it is. */
async function serve(listener: RequestListener): Promise<{ url: string; server: Server }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/${path.basename(good)}`, server };
}

/** Set variables of this process, which is what programs get. */
function withVariables(variables: Record<string, string>): void {
  for (const [name, value] of Object.entries(variables)) {
    process.env[name] = value;
    onTestFinished(() => void delete process.env[name]);
  }
}

/** Everything that lies in the workspace, as text. */
async function everything(): Promise<string> {
  const entries = await readdir(workspace, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const texts = files.map(({ parentPath, name }) =>
    readFile(path.join(parentPath, name), 'latin1'),
  );
  return (await Promise.all(texts)).join('\n');
}

describe('the flash-attn step', () => {
  it('installs a wheel that works beside the venv, and says what could not be seen of it', async () => {
    const first = await provide(good);
    expect(first).toMatchObject({ state: 'made', what: 'flash-attn 2.8.3' });
    if (!hasNvidiaGpu()) expect(first.said.at(-1)).toContain('not compared with torch');
    expect(existsSync(path.join(first.flashAttn ?? '', 'flash_attn', '__init__.py'))).toBe(true);
    expect(await note()).toMatchObject({ source: good, version: '2.8.3' });
    const second = await provide(good);
    expect(second).toMatchObject({ state: 'ready', flashAttn: first.flashAttn });
    expect((await readdir(folder())).sort()).toEqual([
      path.basename(first.flashAttn ?? ''),
      'wheel.json',
    ]);
  });

  it('takes a file by its URL, and a path from here', async () => {
    const spaced = path.join(workspace, 'a folder?', path.basename(good));
    await cp(good, spaced, { recursive: true });
    expect((await provide(pathToFileURL(spaced).href)).state).toBe('made');
    expect((await note()).source).toBe(spaced);
    expect((await provide(path.relative(process.cwd(), spaced))).state).toBe('ready');
  });

  it('goes on without a wheel that does not import, says why, and leaves nothing of it', async () => {
    const outcome = await provide(bad);
    expect(outcome).toMatchObject({ state: 'skipped', flashAttn: null });
    expect(outcome.what).toContain("torch's own attention instead: ImportError: libcudart.so.12");
    expect(await readdir(folder())).toEqual(['wheel.json']);
  });

  it('tries again after an hour, and not before', async () => {
    await provide(bad);
    const { failure, ...rest } = await note();
    const soon = await provide(bad);
    expect(soon.state).toBe('skipped');
    expect(soon.what).toContain('libcudart.so.12');
    expect(soon.what).toContain(`tried again after ${new Date(failure.at + HOUR).toISOString()}`);
    expect(soon.said).toEqual([]);
    const long = { ...failure, at: Date.now() - HOUR - 1000 };
    await writeFile(noteFile(), JSON.stringify({ ...rest, failure: long }));
    expect((await provide(bad)).said[0]).toContain('getting');
    expect((await note()).failure.at).toBeGreaterThan(long.at);
  });

  it('tries another wheel at once when the setting says another', async () => {
    await provide(bad);
    expect((await provide(good)).state).toBe('made');
  });

  it('does not install what has changed since it first came from there, until it is told to', async () => {
    const file = path.join(workspace, path.basename(good));
    await cp(good, file);
    const { flashAttn } = await provide(file);
    await rm(flashAttn ?? '', { recursive: true });
    await cp(bad, file);
    const { state, what } = await provide(file);
    expect(state).toBe('skipped');
    expect(what).toContain(`${file} is another file than at first: sha256`);
    expect(what).toContain(`remove ${noteFile()}`);
    await rm(noteFile());
    await cp(good, file);
    expect((await provide(file)).state).toBe('made');
  });

  it.each([
    ['flash_attn-2.8.3-py3-none-any.whl', 'no wheel at all', /[Ff]ailed|invalid|zip/],
    ['flash-attn.zip', 'no wheel at all', /not named as a wheel is/],
    ['flash_attn-2.8.3-cp27-cp27m-win32.whl', null, /cp312/],
  ])('goes on without %s that holds %j, and says why', async (name, content, why) => {
    const file = path.join(workspace, name);
    if (content === null) await cp(good, file);
    else await writeFile(file, content);
    const { state, what } = await provide(file);
    expect(state).toBe('skipped');
    expect(what).toMatch(why);
  });

  it.each([
    ['/no/such/flash_attn-2.8.3-py3-none-any.whl', 'ENOENT'],
    ['https://no such host/a.whl', 'is no URL'],
    ['http://127.0.0.1:2/flash_attn-2.8.3-py3-none-any.whl', 'ECONNREFUSED'],
  ])('goes on without %s, and says %s', async (source, why) => {
    const { state, what } = await provide(source);
    expect(state).toBe('skipped');
    expect(what).toContain(why);
  });

  it('is not wanted where it is off, and where there is no GPU for it', async () => {
    expect(await provide('off')).toMatchObject({ state: 'ready', what: 'off', flashAttn: null });
    if (!hasNvidiaGpu()) {
      expect(await provide('auto')).toMatchObject({
        ...{ state: 'ready', what: 'not needed: no NVIDIA GPU', flashAttn: null },
      });
    }
    expect(existsSync(folder())).toBe(false);
  });

  it('takes a damaged note for none', async () => {
    await mkdir(folder());
    await writeFile(noteFile(), '{"source":');
    expect((await provide(good)).state).toBe('made');
  });
});

/** What a process that sees this gets when its parent dies: see prctl(2), PR_GET_PDEATHSIG. */
const DEATH_SIGNAL =
  'import ctypes; n = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(n))';

describe('what the step runs', () => {
  it('is uv as it is everywhere: in the workspace, with what it may know and no more', async () => {
    const uv = path.join(workspace, 'a uv');
    const seen = path.join(workspace, 'seen');
    const real = process.env.LOTUS_UV || 'uv';
    await writeFile(uv, `#!/bin/sh\n(pwd; env) >>'${seen}'\nexec ${real} "$@"\n`, { mode: 0o755 });
    const planted = { AWS_SECRET_ACCESS_KEY: 'planted-key', UV_REQUIRE_HASHES: '1' };
    withVariables(planted);
    expect(await provide(good, undefined, { env: { ...planted, LOTUS_UV: uv } })).toMatchObject({
      state: 'made',
    });
    const lines = (await readFile(seen, 'utf8')).split('\n');
    expect(lines.filter((line) => /planted|UV_REQUIRE_HASHES/.test(line))).toEqual([]);
    expect(lines).toContain(workspace);
  });

  it.skipIf(!existsSync('/usr/bin/setpriv'))('dies with us: the proof does', async () => {
    const python = path.join(workspace, 'python');
    const proof = '{"works": True, "compared": False, "what": "%d" % n.value}';
    const script = `#!${PYTHON}\n${DEATH_SIGNAL}\nimport json; print(json.dumps(${proof}))\n`;
    await writeFile(python, script, { mode: 0o755 });
    const config = readConfig({ ...process.env, WORKSPACE: workspace });
    const found = await proveFlashAttn({ config, env: process.env, python, folder: workspace });
    expect(found.what).toBe(String(os.constants.signals.SIGKILL));
  });
});

describe('an installation that is not finished', () => {
  /** A server that answers and sends no more, and a wait for who asks it. */
  async function standstill() {
    const asked = Promise.withResolvers<void>();
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 1e6 }).write('PK');
      asked.resolve();
    });
    return { url, asked: asked.promise };
  }

  it('is noted before the download, so that the next start does not begin it again', async () => {
    const { url, asked } = await standstill();
    const ending = new AbortController();
    const first = provide(url, undefined, { signal: ending.signal }).catch((error) => error);
    await asked;
    expect(await note()).toMatchObject({ failure: { reason: 'was not finished' } });
    // As after a kill, for the first knows nothing of it.
    const next = await provide(url);
    expect(next.state).toBe('skipped');
    expect(next.what).toMatch(/^was not finished \(tried again after /);
    ending.abort(new Interruption('SIGTERM'));
    expect(await first).toMatchObject({ code: 'cancelled' });
    expect((await note()).failure.reason).toBe('was not finished');
  });

  it('is tried again at once when it was broken off by Ctrl-C', async () => {
    const { url, asked } = await standstill();
    const ending = new AbortController();
    const first = provide(url, undefined, { signal: ending.signal }).catch((error) => error);
    await asked;
    ending.abort(new Interruption('SIGINT'));
    expect(await first).toMatchObject({ code: 'cancelled' });
    expect(await note()).toEqual({ source: url });
  });

  it('is forgotten when the next one is', async () => {
    const at = Date.now() - HOUR - 1000;
    await mkdir(folder());
    await writeFile(
      noteFile(),
      JSON.stringify({ source: good, failure: { reason: 'was not finished', at } }),
    );
    expect((await provide(good)).state).toBe('made');
    expect(await note()).not.toHaveProperty('failure');
  });
});

describe('a wheel from a server', () => {
  /** The client looks at its clock every half second. */
  const QUICK = { silence: 200, whole: 30_000 };

  it('is fetched with its credentials and its signature, which are kept and shown nowhere', async () => {
    const asked: string[] = [];
    const { url } = await serve(async (request, response) => {
      asked.push(`${request.headers.authorization} ${request.url}`);
      response.end(await readFile(good));
    });
    const secret = `${url.replace('://', '://user:planted%40pass@')}?X-Amz-Signature=planted`;
    const outcome = await provide(secret);
    expect(outcome.state).toBe('made');
    const basic = Buffer.from('user:planted@pass').toString('base64');
    expect(asked).toEqual([`Basic ${basic} /${path.basename(good)}?X-Amz-Signature=planted`]);
    expect(`${JSON.stringify(outcome)} ${await everything()}`).not.toContain('planted');
    // A signature is another one every time, and the wheel the same.
    expect((await provide(secret.replace('Signature=planted', 'Signature=other'))).state).toBe(
      'ready',
    );
  });

  it('shows no secret either when it cannot be had', async () => {
    const { url } = await serve((_request, response) => response.writeHead(403).end());
    const secret = `${url.replace('://', '://user:planted@')}?X-Amz-Signature=planted`;
    const outcome = await provide(secret);
    expect(outcome.what).toContain('it answered 403 Forbidden');
    expect(`${JSON.stringify(outcome)} ${await everything()}`).not.toContain('planted');
  });

  it.each<[string, RequestListener, string, number?]>([
    ['is not there', (_, response) => response.writeHead(404).end(), 'it answered 404 Not Found'],
    ['is never answered', () => {}, 'Headers Timeout'],
    [
      'stops in the middle',
      (_, response) => response.writeHead(200, { 'content-length': 1e6 }).write('PK'),
      'Body Timeout',
    ],
    [
      'breaks off',
      (_, response) => {
        response.writeHead(200, { 'content-length': 1e6 }).write('PK');
        setTimeout(() => response.destroy(), 50);
      },
      'other side closed',
    ],
    [
      'trickles',
      (_, response) => {
        response.writeHead(200);
        const drop = setInterval(() => response.write('P'), 50);
        response.on('close', () => clearInterval(drop));
      },
      'it took more than 0.5 s',
      500,
    ],
  ])('that %s is gone on without', async (_what, listener, why, whole = QUICK.whole) => {
    const { url } = await serve(listener);
    const { state, what } = await provide(url, { ...QUICK, whole });
    expect(state).toBe('skipped');
    expect(what).toContain(why);
    expect(await readdir(folder())).toEqual(['wheel.json']);
  });
});
