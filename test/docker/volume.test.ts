import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SAMPLE_ROOT } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { type Hub, startHub } from '../fixtures/hub.ts';
import { APP, makeLayout } from './layout.ts';
import { type Bind, inRoot, whyNoRoot } from './root.ts';

/**
 * One volume's life, with the real packages and the image's own layout: made ready where a pod has it, then served
 * from where a serverless worker has it, then from a pod that has nothing but the volume. Steps of one story.
 */
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const config = readConfig(process.env);
const why = whyNoRoot();

let dir = '';
let hub: Hub;
let commit = '';
let python = '';
beforeAll(async () => {
  if (why !== null) return;
  // Beside the workspace, for the packages are links into uv's cache, and links do not leave a file system.
  await mkdir(path.dirname(config.workspace), { recursive: true });
  dir = await mkdtemp(path.join(path.dirname(config.workspace), 'volume-test-'));
  await makeLayout(path.join(dir, 'app'));
  await mkdir(path.join(dir, 'volume', 'Lotus', 'cache'), { recursive: true });
  const cache = path.join(dir, 'volume', 'Lotus', 'cache', 'uv');
  await execa('cp', ['-al', config.uvCache, cache]); // nor do they leave a mount
  commit = await repository(path.join(dir, 'upstream'));
  hub = await startHub({
    models: { 'org/lotus': { folder: path.join(SAMPLE_ROOT, 'checkpoint'), revision: COMMIT } },
  });
  const venv = path.join(config.workspace, 'venv', 'bin', 'python');
  python = (await execa(venv, ['-c', 'import sys; print(sys.base_prefix)'])).stdout;
});
afterAll(async () => {
  await hub?.close();
  if (dir !== '') await rm(dir, { recursive: true, force: true });
});

/** Upstream's stand-in as a repository. */
async function repository(repo: string): Promise<string> {
  await execa('cp', ['-r', path.join(SAMPLE_ROOT, 'upstream'), repo]);
  const identity = ['-c', 'user.name=test', '-c', 'user.email=test@example.org'];
  const git = (...args: string[]) => execa('git', [...identity, ...args], { cwd: repo });
  await git('init', '--quiet');
  await git('add', '.');
  await git('commit', '--quiet', '--message', 'upstream');
  return (await git('rev-parse', 'HEAD')).stdout;
}

/** How this machine gets at the packages, whose index is looked at though they are in the cache. */
const REGISTRY = Object.fromEntries(
  Object.entries(process.env).filter(
    (entry): entry is [string, string] =>
      /^(UV_(?!CACHE)|SSL_|REQUESTS_CA|https?_proxy|no_proxy)/i.test(entry[0]) && entry[1] !== '',
  ),
);

interface Machine {
  /** Where its Python 3.12 is. */
  pythonAt: string;
  /** Where the volume is mounted. */
  volumeAt: string;
  /** Whether it has the app, Node.js and uv: whether it was started from the image. */
  hasImage: boolean;
  env?: Record<string, string>;
}

function on(machine: Machine, command: readonly [string, ...string[]]) {
  const { pythonAt, volumeAt, hasImage, env } = machine;
  const image: Bind[] = [
    { source: path.join(dir, 'app'), target: APP, readonly: true },
    { source: process.execPath, target: '/opt/bin/node', readonly: true },
    { source: config.uv ?? '/usr/bin/uv', target: '/opt/bin/uv', readonly: true },
  ];
  return inRoot(command, {
    binds: [
      { source: python, target: pythonAt, readonly: true },
      { source: path.join(dir, 'volume'), target: volumeAt },
      { source: path.join(dir, 'upstream'), target: '/opt/upstream', readonly: true },
      ...(hasImage ? image : []),
    ],
    env: {
      PATH: `/opt/bin:${pythonAt}/bin:/usr/bin:/bin`,
      ...REGISTRY,
      HOME: os.homedir(),
      PYENV_ROOT: '/nowhere', // what this machine has there is no part of the story
      LOTUS_ALLOW_EPHEMERAL: '0',
      LOTUS_RUN_AS_ROOT: '1', // the cache's files belong to whom the tests run as
      LOTUS_UPSTREAM_URL: pathToFileURL('/opt/upstream').href,
      LOTUS_UPSTREAM_COMMIT: commit,
      MODEL_ID: 'org/lotus',
      HF_ENDPOINT: hub.url,
      NO_PROXY: '*',
      ...env,
    },
    timeoutMs: 280_000,
  });
}

const IMAGE = `${APP}/docker/entrypoint`;

/** What `--json` says of every step. */
function states(stdout: string): Record<string, string> {
  const { steps } = JSON.parse(stdout) as { steps: { name: string; state: string }[] };
  return Object.fromEntries(steps.map(({ name, state }) => [name, state]));
}

/** Everything but what is written in passing, with what tells whether it was written again. */
async function contents(): Promise<Record<string, string>> {
  const lotus = path.join(dir, 'volume', 'Lotus');
  const found: Record<string, string> = {};
  for (const folder of ['venvs', 'releases', 'upstream', 'models', 'cache/hub']) {
    for (const name of (await readdir(path.join(lotus, folder), { recursive: true })).sort()) {
      if (/__pycache__/.test(name)) continue;
      const { ino, size, mtimeMs } = await stat(path.join(lotus, folder, name)).catch(() => GONE);
      // The time of a venv, and of a release, says when it was used.
      const changed = /^(venvs|releases)$/.test(folder) && !name.includes('/') ? '' : mtimeMs;
      found[`${folder}/${name}`] = `${ino} ${size} ${changed}`;
    }
  }
  return found;
}
/** A link into another machine. */
const GONE = { ino: 0, size: 0, mtimeMs: 0 };

const POD = { pythonAt: '/opt/python-a', volumeAt: '/workspace', hasImage: true };
const SERVERLESS = {
  pythonAt: '/opt/elsewhere/python-b',
  volumeAt: '/runpod-volume',
  hasImage: true,
  env: {
    RUNPOD_ENDPOINT_ID: 'endpoint',
    RUNPOD_POD_ID: 'worker',
    HF_ENDPOINT: 'http://127.0.0.1:9',
  },
};

describe.skipIf(why !== null)('a volume', () => {
  it('is refused where it is not mounted', async () => {
    const nowhere = { ...POD, volumeAt: '/mnt' };
    const { exitCode, stderr } = await on(nowhere, [IMAGE, 'bootstrap']);
    expect(stderr).toContain('No volume is mounted at /workspace or /runpod-volume');
    expect(exitCode).toBe(1);
  });

  it('is made ready on a pod, from nothing, and runs the model there', async () => {
    const { exitCode, stdout, stderr } = await on(POD, [IMAGE, 'bootstrap', '--json']);
    expect(stderr).toContain('/workspace/Lotus is ready');
    expect(exitCode).toBe(0);
    expect(states(stdout)).toEqual({
      volume: 'made',
      release: 'made',
      interpreter: 'ready',
      venv: 'made',
      upstream: 'made',
      weights: 'made',
      'flash-attn': 'ready',
    });
    expect(JSON.parse(stdout)).toMatchObject({ ready: true, warmup: { revision: COMMIT } });
  });

  it('serves where another image has another Python elsewhere, and nothing is built again', async () => {
    await hub.close();
    const before = await contents();
    const { exitCode, stdout, stderr } = await on(SERVERLESS, [IMAGE, 'bootstrap', '--json']);
    expect(stderr).toContain('/runpod-volume/Lotus is ready');
    expect(exitCode).toBe(0);
    expect(states(stdout)).toMatchObject({ release: 'ready', venv: 'made', weights: 'ready' });
    expect(JSON.parse(stdout)).toMatchObject({ ready: true, warmup: { revision: COMMIT } });
    expect(await contents()).toMatchObject(before);
  });

  it('has nothing to do there the second time', async () => {
    const before = await contents();
    const { stdout } = await on(SERVERLESS, [IMAGE, 'bootstrap', '--no-warmup', '--json']);
    expect(new Set(Object.values(states(stdout)))).toEqual(new Set(['ready']));
    expect(await contents()).toEqual(before);
  });

  it('runs the app on a pod that has neither the image nor Node.js', async () => {
    const bare = { ...POD, hasImage: false, env: { PATH: '/opt/python-a/bin:/bin:/usr/bin' } };
    const source = '/workspace/Lotus/src/bootstrap';
    const { exitCode, stdout, stderr } = await on(bare, [source, 'warmup', '--json']);
    expect(stderr).not.toContain('error:');
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ revision: COMMIT, device: 'cpu' });
  });

  it('serves when it is mounted read-only, and can no more be written to', async () => {
    const script = `mount -o remount,bind,ro /workspace && exec ${IMAGE} warmup --json`;
    const { exitCode, stdout, stderr } = await on(POD, ['sh', '-c', script]);
    expect(stderr).not.toContain('error:');
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ revision: COMMIT });
  });
});
