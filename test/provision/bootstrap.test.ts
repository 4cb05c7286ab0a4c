import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type Expected,
  faultsOf,
  interpreter,
  leftovers,
  makeWheel,
  repository,
  snapshot,
} from '../fixtures/provision/chaos-workspace.ts';
import { namespace, whyNoNamespace } from './namespace.ts';
import { makeSmallApp, runSmall, type SmallApp } from './small-app.ts';

const COMMAND = ['bootstrap', '--no-warmup', '--json'];
const MADE = ['volume', 'release', 'venv', 'upstream'];

let dir = '';
/** With the packages of the hub's client. */
let small: SmallApp;
/** With a package of one file. */
let tiny: SmallApp;
let settings: Record<string, string> = {};
let expected: Expected;
let real = '';
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'bootstrap-story-'));
  small = await makeSmallApp(path.join(dir, 'small'), { installedBytes: 1e6 });
  const wheels = path.join(dir, 'wheels');
  const { entry } = await makeWheel(wheels, 'alpha', '1.0', 'one = 1\n');
  const options = { lock: entry, proof: 'import alpha', installedBytes: 1e6 };
  tiny = await makeSmallApp(path.join(dir, 'tiny'), options);
  const { url, commits } = await repository(path.join(dir, 'repository'));
  real = await interpreter();
  settings = {
    LOTUS_PYTHON: real,
    LOTUS_UPSTREAM_DIR: '',
    LOTUS_UPSTREAM_URL: url,
    LOTUS_UPSTREAM_COMMIT: commits[0] ?? '',
    LOTUS_FLASH_ATTN: 'off',
    NODE_COMPILE_CACHE: path.join(dir, 'compiled'),
    NO_PROXY: '127.0.0.1',
    UV_FIND_LINKS: wheels,
  };
  expected = { commit: commits[0] ?? '', proof: 'import huggingface_hub, yaml', env: settings };
});
afterAll(() => rm(dir, { recursive: true, force: true }));

let workspace = '';
let count = 0;
/** A place for a workspace, where nothing is yet. */
function emptyPlace(): void {
  count += 1;
  workspace = path.join(dir, `${count}`, 'Lotus');
}

type Settings = Record<string, string | undefined>;

function bootstrap(app: SmallApp, env: Settings = {}, args: string[] = [], within: string[] = []) {
  const all = { ...settings, WORKSPACE: workspace, ...env };
  return runSmall(app, [...COMMAND, ...args], all, [], { within });
}

/** How the steps ended, or why they did not. */
function statesIn({ exitCode, stdout, stderr }: Awaited<ReturnType<typeof bootstrap>>) {
  if (exitCode !== 0) return { exitCode, stdout, stderr };
  const { steps } = JSON.parse(stdout) as { steps: { name: string; state: string }[] };
  return Object.fromEntries(steps.map(({ name, state }) => [name, state]));
}

const allOf = (state: string) =>
  Object.fromEntries(
    ['volume', 'release', 'interpreter', 'venv', 'upstream', 'flash-attn'].map((name) => [
      name,
      ['interpreter', 'flash-attn'].includes(name) ? 'ready' : state,
    ]),
  );
const READY = allOf('ready');

describe('bootstrap', () => {
  beforeAll(emptyPlace);

  it('says what would be made where nothing is, and makes nothing', async () => {
    const result = await bootstrap(small, {}, ['--dry-run']);
    expect(statesIn(result)).toEqual(allOf('missing'));
    expect(existsSync(path.dirname(workspace))).toBe(false);
  });

  it('makes everything from nothing, and all of it works', async () => {
    const result = await bootstrap(small);
    expect(statesIn(result)).toEqual(allOf('made'));
    expect(JSON.parse(result.stdout)).toMatchObject({ ready: true, workspace });
    expect(await faultsOf(workspace, MADE, expected)).toEqual([]);
    expect(await leftovers(workspace)).toEqual([]);
  });

  it('changes not a byte the second time, and takes no lock', async () => {
    const before = await snapshot(workspace); // a lock would change the time of the folder it is made in
    expect(statesIn(await bootstrap(small))).toEqual(READY);
    expect(statesIn(await bootstrap(small, {}, ['--dry-run']))).toEqual(READY);
    expect(await snapshot(workspace)).toEqual(before);
  });

  it('runs from the volume as it does from where it came from', async () => {
    const { exitCode, stdout, stderr } = await execa(
      path.join(workspace, 'src', 'bootstrap'),
      COMMAND,
      { reject: false, env: { ...settings, WORKSPACE: workspace, PATH: '/usr/bin:/bin' } },
    );
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
    expect(
      JSON.parse(stdout).steps.every(({ state }: { state: string }) => state === 'ready'),
    ).toBe(true);
  });

  it('finds all of it ready when the whole workspace has moved', async () => {
    const old = workspace;
    workspace = path.join(dir, 'moved to', 'elsewhere');
    await mkdir(path.dirname(workspace));
    await rename(old, workspace);
    expect(statesIn(await bootstrap(small))).toEqual(READY);
    expect(await faultsOf(workspace, MADE, expected)).toEqual([]);
    const { stdout } = await execa(path.join(workspace, 'venv', 'bin', 'hf'), ['version']);
    expect(stdout).toContain('huggingface_hub');
    await rename(workspace, old);
    workspace = old;
  });

  it.skipIf(whyNoNamespace() !== null)(
    'serves from a volume that is mounted read-only',
    async () => {
      const bind = 'mount --bind "$WORKSPACE" "$WORKSPACE"';
      const { within } = await namespace(
        `${bind}; mount -o remount,bind,ro "$WORKSPACE"`,
        workspace,
      );
      const probe = await execa('nsenter', [...within.slice(1), 'touch', `${workspace}/no`], {
        reject: false,
      });
      expect(probe.stderr).toContain('Read-only file system');
      expect(statesIn(await bootstrap(small, {}, [], within))).toEqual(READY);
    },
  );

  it.skipIf(whyNoNamespace() !== null)('needs no network for what is there', async () => {
    const env = { UV_CACHE_DIR: path.join(dir, 'empty cache') };
    expect(statesIn(await bootstrap(small, env, [], ['unshare', '-n']))).toEqual(READY);
  });
});

describe('a path with a space and letters that are not ASCII', () => {
  it('is as good as any: everything is made there, runs from there, and is ready again', async () => {
    const place = path.join(dir, 'Größe & Maß', 'l’été');
    const app = await makeSmallApp(path.join(place, 'my app'), { installedBytes: 1e6 });
    workspace = path.join(place, 'Lotus Ω');
    expect(statesIn(await bootstrap(app))).toEqual(allOf('made'));
    expect(statesIn(await bootstrap(app))).toEqual(READY);
    expect(await faultsOf(workspace, MADE, expected)).toEqual([]);
    expect(await leftovers(workspace)).toEqual([]);
    const { stdout } = await execa(path.join(workspace, 'venv', 'bin', 'hf'), ['version']);
    expect(stdout).toContain('huggingface_hub');
    const env = { ...settings, WORKSPACE: workspace, PATH: '/usr/bin:/bin' };
    const own = await execa(path.join(workspace, 'src', 'bootstrap'), COMMAND, { env });
    expect(statesIn({ ...own, exitCode: 0 } as Awaited<ReturnType<typeof bootstrap>>)).toEqual(
      READY,
    );
  });
});

describe.skipIf(whyNoNamespace() !== null)('a file system on which links lead nowhere', () => {
  it('is refused before anything large is made', async () => {
    emptyPlace();
    await mkdir(workspace, { recursive: true });
    const { within } = await namespace(
      'mount -t tmpfs -o nosymfollow tmpfs "$WORKSPACE"',
      workspace,
    );
    const { exitCode, stderr } = await bootstrap(small, {}, [], within);
    expect(stderr).toContain('holds no symbolic links (ELOOP), which the packages need');
    expect(exitCode).toBe(1);
  });
});

describe('workers that start at once', () => {
  beforeEach(emptyPlace);

  it.each([4, 8])('%i on an empty volume: one builds, and the others wait for it', async (many) => {
    const runs = await Promise.all(Array.from({ length: many }, () => bootstrap(tiny)));
    const states = runs.map(statesIn);
    expect(runs.map(({ exitCode }) => exitCode)).toEqual(Array(many).fill(0));
    for (const step of MADE) {
      expect(states.filter((state) => state[step as keyof typeof state] === 'made')).toHaveLength(
        1,
      );
    }
    const waited = runs.filter(({ stderr }) =>
      stderr.includes('waiting for lotus-worker bootstrap on'),
    );
    expect(waited.length).toBeGreaterThan(0);
    expect(await leftovers(workspace)).toEqual([]);
    expect(await faultsOf(workspace, MADE, { ...expected, proof: 'import alpha' })).toEqual([]);
  });
});
