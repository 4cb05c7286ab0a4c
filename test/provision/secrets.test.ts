import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { SECRETS } from '../../src/settings.ts';
import { type Hub, startHub } from '../fixtures/hub.ts';
import { interpreter, makeWheel, repository } from '../fixtures/provision/chaos-workspace.ts';
import { type Guarded, startGuarded } from '../fixtures/provision/guarded-server.ts';
import { makeSmallApp, proveByImport, runSmall, type SmallApp } from './small-app.ts';

/** Every secret here has it in it, and nothing else in the world. */
const MARK = 'pLaNtEd5e1f';
const secret = (name: string) => `${MARK}-${name}`;
const VARIABLES = Object.fromEntries(SECRETS.map((name) => [name, secret(name)]));
const LOGIN = `operator:${secret('password')}`;
const WRONG_LOGIN = `operator:${secret('wrong-password')}`;
/** How a login goes over the wire, and may be kept by whoever sends it. */
const ENCODED = [LOGIN, WRONG_LOGIN].map((login) => Buffer.from(login).toString('base64'));

let dir = '';
/** With a package of one file, which comes from the index behind the password. */
let tiny: SmallApp;
/** With the hub's client. */
let small: SmallApp;
let guarded: Guarded;
let hub: Hub;
let settings: Record<string, string> = {};
/** Of upstream's, which nothing has fetched. */
let otherCommit = '';
/** What every run has said, by the run. */
const said = new Map<string, string>();

beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'secrets-test-'));
  const wheels = path.join(dir, 'index');
  const { entry } = await makeWheel(wheels, 'alpha', '1.0', 'version = 1\n');
  await makeWheel(wheels, 'flash_attn', '2.8.3', 'flash_attn_func = print\n');
  const repositories = path.join(dir, 'repositories');
  const { commits } = await repository(path.join(repositories, 'upstream'));
  guarded = await startGuarded({ login: LOGIN, wheels, repositories });
  const options = { lock: entry, proof: 'import alpha', installedBytes: 1e6 };
  tiny = await makeSmallApp(path.join(dir, 'tiny'), options);
  await proveByImport(tiny.root);
  small = await makeSmallApp(path.join(dir, 'small'), { installedBytes: 1e6 });
  const sample = path.join(small.root, 'sample', 'checkpoint');
  const gated = { folder: sample, revision: 'c'.repeat(40), gated: [VARIABLES.HF_TOKEN ?? ''] };
  hub = await startHub({ models: { 'org/gated': gated } });
  for (const name of ['home', 'tmp'])
    await mkdir(path.join(dir, 'kept', name), { recursive: true });
  otherCommit = commits[1] ?? '';
  settings = {
    ...VARIABLES,
    BUCKET_ENDPOINT_URL: 'https://s3.example.com', // without it the bucket's keys are refused
    // Whatever a program keeps at home, or leaves in the temporary folder, is looked at too.
    HOME: path.join(dir, 'kept', 'home'),
    TMPDIR: path.join(dir, 'kept', 'tmp'),
    LOTUS_PYTHON: await interpreter(),
    LOTUS_UPSTREAM_DIR: '',
    LOTUS_UPSTREAM_URL: path.join(repositories, 'upstream'),
    LOTUS_UPSTREAM_COMMIT: commits[0] ?? '',
    LOTUS_FLASH_ATTN: 'off',
    LOTUS_LOG_LEVEL: 'trace',
    NO_PROXY: '*',
  };
});
afterAll(async () => {
  await Promise.all([hub?.close(), guarded?.close()]);
  await rm(dir, { recursive: true, force: true });
});

type Settings = Record<string, string>;

/** Run a command on a workspace of that name, whose cache of uv is its own, and keep what it says. */
async function run(app: SmallApp, name: string, args: string[], env: Settings = {}) {
  const WORKSPACE = path.join(dir, 'kept', name);
  const own = { UV_CACHE_DIR: path.join(WORKSPACE, 'cache', 'uv') };
  const result = await runSmall(app, args, { ...settings, ...own, WORKSPACE, ...env });
  said.set(`${name}: ${args.join(' ')} (${said.size})`, `${result.stdout}\n${result.stderr}`);
  return result;
}

/** Where secrets are to be read: in what was said, and in every file, name and link below the folder. */
async function leaks(): Promise<string[]> {
  const found: string[] = [];
  const tells = (text: Buffer | string) => [MARK, ...ENCODED].some((one) => text.includes(one));
  for (const [name, text] of said) {
    found.push(
      ...text
        .split('\n')
        .filter(tells)
        .map((line) => `${name} said ${line}`),
    );
  }
  const kept = path.join(dir, 'kept');
  const entries = await readdir(kept, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const file = path.join(entry.parentPath, entry.name);
    const isLink = entry.isSymbolicLink() && tells(await readlink(file));
    const isFile = entry.isFile() && tells(await readFile(file));
    if (isLink || isFile || tells(entry.name)) found.push(path.relative(kept, file));
  }
  return found;
}

/** What each of uv and pip calls the index. */
const indexOf = (login: string): Settings =>
  Object.fromEntries(
    ['UV_DEFAULT_INDEX', 'UV_INDEX_URL', 'PIP_INDEX_URL'].map((name) => [
      name,
      guarded.url('/simple/', login),
    ]),
  );

/** A wheel behind a password, by a URL that is signed. */
const wheelOf = (login: string) =>
  guarded.url(
    `/wheels/flash_attn-2.8.3-py3-none-any.whl?X-Signature=${secret('signature')}`,
    login,
  );

const BOOTSTRAP = ['bootstrap', '--no-warmup', '--json'];

describe('secrets', () => {
  it('are found by this test where they are', async () => {
    said.set('a run', `error: ${secret('planted')}`);
    expect(await leaks()).toEqual([`a run said error: ${secret('planted')}`]);
    said.clear();
    const file = path.join(dir, 'kept', 'a file');
    await writeFile(file, Buffer.from(`\0${ENCODED[0]}\0`));
    expect(await leaks()).toEqual(['a file']);
    await rm(file);
    await run(tiny, 'none', ['--version']);
    expect(await leaks()).toEqual([]);
  });

  it('of the environment and of an index are kept by nobody who makes a workspace', async () => {
    const env = indexOf(LOGIN);
    const made = await run(tiny, 'index', BOOTSTRAP, env);
    expect(made).toMatchObject({ exitCode: 0 });
    expect(guarded.served).toContain('/wheels/alpha-1.0-py3-none-any.whl');
    expect((await run(tiny, 'index', BOOTSTRAP, env)).exitCode).toBe(0);
    expect((await run(tiny, 'index', ['bootstrap', '--dry-run'], env)).exitCode).toBe(0);
    expect(await leaks()).toEqual([]);
  });

  it('of an index that refuses are not told', async () => {
    const { exitCode, stderr } = await run(tiny, 'refused', BOOTSTRAP, indexOf(WRONG_LOGIN));
    expect(exitCode).toBe(1);
    expect(stderr).toContain('401');
    expect(await leaks()).toEqual([]);
  });

  it("of the URLs of upstream's repository and of flash-attn are kept by nobody", async () => {
    const env = {
      ...indexOf(LOGIN),
      LOTUS_UPSTREAM_URL: guarded.url('/git/upstream', LOGIN),
      LOTUS_FLASH_ATTN: wheelOf(LOGIN),
    };
    const made = await run(tiny, 'urls', BOOTSTRAP, env);
    expect(made).toMatchObject({ exitCode: 0 });
    const { steps } = JSON.parse(made.stdout) as { steps: { name: string; state: string }[] };
    const states = Object.fromEntries(steps.map(({ name, state }) => [name, state]));
    expect(states).toMatchObject({ upstream: 'made', 'flash-attn': 'made' });
    await run(tiny, 'urls', BOOTSTRAP, env);
    await run(tiny, 'urls', ['doctor'], env);
    await run(tiny, 'urls', ['doctor', '--json'], env);
    expect(await leaks()).toEqual([]);
  });

  it('of URLs that refuse are not told', async () => {
    const upstream = {
      ...indexOf(LOGIN),
      LOTUS_UPSTREAM_URL: guarded.url('/git/upstream', WRONG_LOGIN),
      LOTUS_UPSTREAM_COMMIT: otherCommit,
    };
    expect((await run(tiny, 'index', BOOTSTRAP, upstream)).exitCode).toBe(1);
    await run(tiny, 'index', ['doctor', '--json'], upstream);
    const wheel = { ...indexOf(LOGIN), LOTUS_FLASH_ATTN: wheelOf(WRONG_LOGIN) };
    expect((await run(tiny, 'index', BOOTSTRAP, wheel)).stdout).toContain('skipped');
    await run(tiny, 'index', BOOTSTRAP, wheel); // it is known that it failed
    await run(tiny, 'index', ['doctor', '--json'], wheel);
    expect(await leaks()).toEqual([]);
  });

  it('of the hub go to its client alone, which keeps them for nobody', async () => {
    const env = {
      MODEL_ID: 'org/gated',
      HF_ENDPOINT: hub.url,
      UV_CACHE_DIR: readConfig(process.env).uvCache,
    };
    expect(await run(small, 'hub', ['prefetch', '--json'], env)).toMatchObject({ exitCode: 0 });
    const tokens = hub.requests.map(({ authorization }) => authorization);
    expect(new Set(tokens)).toEqual(new Set([`Bearer ${VARIABLES.HF_TOKEN}`]));
    hub.faults.push({ kind: 'status', status: 503 });
    const mirror = { ...env, HF_ENDPOINT: hub.url.replace('//', `//${LOGIN}@`) };
    const failed = await run(small, 'hub', ['prefetch', '--update'], mirror);
    expect(failed.stderr).toContain('the hub cannot be reached');
    expect(await leaks()).toEqual([]);
  });
});
