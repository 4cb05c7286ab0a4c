import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { interpreter, leftovers, makeWheel } from '../fixtures/provision/chaos-workspace.ts';
import { namespace, whyNoNamespace } from './namespace.ts';
import { makeSmallApp, runSmall, type SmallApp } from './small-app.ts';

let dir = '';
let settings: Record<string, string> = {};
let lock = '';
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'release-test-'));
  lock = (await makeWheel(path.join(dir, 'wheels'), 'alpha', '1.0', 'one = 1\n')).entry;
  settings = {
    LOTUS_PYTHON: await interpreter(),
    LOTUS_FLASH_ATTN: 'off',
    NODE_COMPILE_CACHE: path.join(dir, 'compiled'),
    UV_CACHE_DIR: '',
    UV_FIND_LINKS: path.join(dir, 'wheels'),
    UV_NO_INDEX: '1',
  };
});
afterAll(() => rm(dir, { recursive: true, force: true }));

let workspace = '';
let app: SmallApp;
let count = 0;
beforeEach(async () => {
  count += 1;
  workspace = path.join(dir, `${count}`, 'Lotus');
  const options = { lock, proof: 'import alpha', installedBytes: 1e6 };
  app = await makeSmallApp(path.join(dir, `${count}`, 'app'), options);
});

function bootstrap(env: Record<string, string> = {}, within: string[] = []) {
  const all = { ...settings, WORKSPACE: workspace, ...env };
  return runSmall(app, ['bootstrap', '--no-warmup', '--json'], all, [], { within });
}

interface Outcome {
  name: string;
  state: string;
  what: string;
}

function stepsIn(stdout: string): Record<string, Outcome> {
  const { steps }: { steps: Outcome[] } = JSON.parse(stdout);
  return Object.fromEntries(steps.map((step) => [step.name, step]));
}

async function addToLock(entry: object): Promise<void> {
  const file = path.join(app.root, 'package-lock.json');
  const all = JSON.parse(await readFile(file, 'utf8'));
  all.packages['node_modules/not-there'] = { version: '1.0.0', ...entry };
  await writeFile(file, JSON.stringify(all));
}

/** Its line says what was wrong, there is no copy, and the rest is made. */
async function refused(...reasons: string[]): Promise<void> {
  const { exitCode, stdout, stderr } = await bootstrap();
  const { state, what } = stepsIn(stdout).release ?? {};
  expect({ state, exitCode, stderr }).toMatchObject({ state: 'skipped', exitCode: 0 });
  for (const reason of [...reasons, 'npm ci']) {
    expect(what).toContain(reason);
    expect(stderr).toContain(reason);
  }
  expect(existsSync(path.join(workspace, 'src'))).toBe(false);
  expect(await readdir(path.join(workspace, 'releases'))).toEqual([]);
  expect(await leftovers(workspace)).toEqual([]);
}

describe('the copy of the app', () => {
  it('is not made when a package is missing that it needs', async () => {
    await addToLock({});
    await refused(`${path.join(app.root, 'node_modules/not-there')} is missing`);
  });

  it.each([
    ['is for another system', { optional: true, os: ['win32'], cpu: ['x64'] }],
    ['is for development', { dev: true }],
    ['is for development, or optional', { devOptional: true }],
  ])('is made without one that %s', async (_what, entry) => {
    await addToLock(entry);
    const { exitCode, stderr } = await bootstrap();
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
  });

  it.each([
    ['a package that is not there', 'import "not-there";', "'not-there'"],
    [
      'a library that does not load',
      'process.dlopen({ exports: {} }, "/no/lib.so");',
      '/no/lib.so',
    ],
  ])(
    'is not taken when one of its modules needs %s, whatever command that is for',
    async (_what, code, reason) => {
      await writeFile(path.join(app.root, 'src', 'image', 'broken.ts'), `${code}\n`);
      await refused('The copy of the app does not run', reason);
    },
  );

  it('has a uv, but for one that is a script, and says so', async () => {
    const script = path.join(dir, `${count}`, 'uv');
    await writeFile(script, `#!/bin/sh\nexec ${process.env.LOTUS_UV || 'uv'} "$@"\n`);
    await chmod(script, 0o755);
    const { exitCode, stderr } = await bootstrap({ LOTUS_UV: script });
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
    expect(stderr).toContain(`${script} is not copied: it is a script`);
    expect(await readdir(path.join(workspace, 'src', 'bin'))).toEqual(['node']);
  });

  it.skipIf(whyNoNamespace() !== null)(
    'of another version is not asked for where nobody can write',
    async () => {
      expect((await bootstrap()).exitCode).toBe(0);
      await mkdir(path.join(app.root, 'sample', 'new'));
      await writeFile(path.join(app.root, 'sample', 'new', 'file'), 'of a newer version');
      const bind = 'mount --bind "$WORKSPACE" "$WORKSPACE"; mount -o remount,bind,ro "$WORKSPACE"';
      const { within } = await namespace(bind, workspace);
      const { exitCode, stdout, stderr } = await bootstrap({}, within);
      expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
      expect(JSON.parse(stdout).steps[1]).toMatchObject({
        name: 'release',
        state: 'ready',
        what: 'not copied to where nobody can write',
      });
    },
  );

  it.skipIf(whyNoNamespace() !== null).each([
    ['is full', 'head -c 100m /dev/zero >"$WORKSPACE/zeros" || true', 'ENOSPC'],
    ['has too little room for it', 'true', '250 MB are needed'],
    ['has too little room for it, and lacks what is needed', 'rmdir "$WORKSPACE/logs"', '250 MB'],
  ])('is done without on a volume that %s, and that is told', async (_what, script, reason) => {
    await mkdir(workspace, { recursive: true });
    const { within } = await namespace('mount -t tmpfs -o size=64m tmpfs "$WORKSPACE"', workspace);
    const env = { ...settings, WORKSPACE: workspace };
    const prefetched = await runSmall(app, ['prefetch'], env, [], { within });
    expect(prefetched).toMatchObject({ exitCode: 0 });
    const [program = '', ...rest] = within;
    await execa(program, [...rest, 'sh', '-ec', script], { env, reject: true });
    const { exitCode, stdout, stderr } = await bootstrap({}, within);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
    expect(stepsIn(stdout)).toMatchObject({
      release: { state: 'skipped', what: expect.stringContaining(reason) },
      venv: { state: 'ready' },
    });
  });
});
