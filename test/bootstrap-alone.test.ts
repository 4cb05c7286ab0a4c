import {
  chmod,
  cp,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { APP_ROOT } from '../src/app.ts';
import { findWorkspace } from '../src/workspace.ts';
import { inRoot, makeDiskFolder, whyNoRoot } from './docker/root.ts';

/**
 * The script alone: `node`, `npm`, `uv` and `sleep` are small programs of the test, so that a start takes
 * milliseconds and a minute of waiting takes one second. What it does with the real ones is in bootstrap.test.ts.
 */
let dir = '';
beforeEach(async () => {
  dir = await makeDiskFolder('bootstrap-alone-');
  for (const name of ['bootstrap', 'package-lock.json', 'python/requirements']) {
    await cp(path.join(APP_ROOT, name), path.join(dir, 'app', name), { recursive: true });
  }
  await mkdir(path.join(dir, 'app', 'node_modules'));
  const shows = 'echo "in $PWD with $LOTUS_UV and $WORKSPACE: $*"';
  await program('node', `[ "$1" = --version ] && echo v24.11.0 || ${shows}`);
  await program('npm', INSTALLS);
  await program('uv', 'echo uv 0.9.0');
  for (const name of ['python3', 'python']) await program(name, 'exit 127');
  await execa('sed', ['-i', 's#/usr/bin/python3##', script()]);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** Says in the folder of the app when it was not alone, and takes as long as there is a file `hold`. */
const INSTALLS = `
mkdir inside 2>/dev/null || echo together >>log
echo installed >>log
sleep 0.2
while [ -e hold ]; do sleep 0.01; done
rmdir inside`;

const app = (...names: string[]) => path.join(dir, 'app', ...names);
const script = () => app('bootstrap');
const lock = () => app('.bootstrap-lock');

async function program(name: string, code: string): Promise<void> {
  const file = path.join(dir, 'bin', name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, `#!/bin/sh\n${code}\n`);
  await chmod(file, 0o755);
}

/** A second is over in ten milliseconds, and counted. */
const hurry = () =>
  program('sleep', `echo >>${dir}/slept; exec /bin/sleep "$(echo "$1" | sed 's/^/0.0/')"`);
const sleeps = async () => (await readFile(path.join(dir, 'slept'), 'utf8').catch(() => '')).length;

function bootstrap(args: string[] = ['infer'], env: Record<string, string> = {}, cwd = dir) {
  const PATH = `${path.join(dir, 'bin')}:/usr/bin:/bin`;
  return execa(script(), args, {
    cwd,
    reject: false,
    extendEnv: false,
    env: { PATH, HOME: dir, ...env },
  });
}

/** The packages are installed: nothing is to be locked. */
async function installed(): Promise<void> {
  await bootstrap(['--version']);
  await rm(app('log'));
}

async function until(is: () => Promise<boolean>): Promise<void> {
  while (!(await is())) await sleep(10);
}
const log = async () =>
  (await readFile(app('log'), 'utf8').catch(() => '')).split('\n').filter(Boolean);
const left = async () => (await readdir(app())).filter((name) => name.startsWith('.bootstrap'));

describe('a start', () => {
  it('hands over the arguments, the folder and uv', async () => {
    await installed();
    const { stdout } = await bootstrap(['infer', 'my photo.jpg', '$HOME']);
    expect(stdout).toBe(
      `in ${dir} with ${dir}/bin/uv and : ${app('src/cli/main.ts')} infer my photo.jpg $HOME`.replace(
        'src/cli/main.ts',
        'dist/cli/main.js',
      ),
    );
  });

  it('has threads for file calls beside those that a dead volume may hold', async () => {
    await installed();
    await program('node', '[ "$1" = --version ] && echo v24.11.0 || echo "$UV_THREADPOOL_SIZE"');
    expect((await bootstrap()).stdout).toBe('16');
    expect((await bootstrap(['infer'], { UV_THREADPOOL_SIZE: '8' })).stdout).toBe('8');
  });

  it("asks glibc for two heaps, unless told otherwise, so that sharp's threads have none each", async () => {
    await installed();
    await program('node', '[ "$1" = --version ] && echo v24.11.0 || echo "$MALLOC_ARENA_MAX"');
    expect((await bootstrap()).stdout).toBe('2');
    expect((await bootstrap(['infer'], { MALLOC_ARENA_MAX: '8' })).stdout).toBe('8');
  });

  it.each([
    [],
    ['--version'],
    ['--help'],
    ['help'],
    ['completion', 'bash'],
    ['bootstrap', '--help'],
    ['infer', '-h'],
  ])('that only asks how it is used needs no uv: %s %s', async (...args) => {
    await program('uv', `echo asked >${dir}/asked; exit 1`);
    const { stdout, exitCode } = await bootstrap(args);
    expect({ exitCode, stdout }).toEqual({
      exitCode: 0,
      stdout: expect.stringContaining('with  and'),
    });
    expect(await readdir(dir)).not.toContain('asked');
  });

  it.each([['doctor'], ['bootstrap', '--dry-run']])(
    'that only looks takes the uv that is there, and gets none: %s %s',
    async (...args) => {
      expect((await bootstrap(args)).stdout).toContain(`with ${dir}/bin/uv and`);
      await program('uv', 'exit 1');
      const { stdout, exitCode } = await bootstrap(args);
      expect({ exitCode, stdout }).toEqual({
        exitCode: 0,
        stdout: expect.stringContaining('with  and'),
      });
    },
  );

  it.each([
    ['none that runs', 'exit 1'],
    ['an old one', 'echo uv 0.7.22'],
  ])('that sets up gets a uv where there is %s, or says what it needs', async (_what, code) => {
    await program('uv', code);
    const { stderr, exitCode } = await bootstrap(['bootstrap']);
    expect(stderr).toContain('needs Python 3 with pip or venv');
    expect(exitCode).toBe(1);
    expect(await readdir(path.join(dir, '.local/share/lotus-worker/tools'))).toEqual([]);
  });

  it.each([['infer'], ['serve'], ['demo'], ['warmup']])(
    'needs a uv to get what is missing, and none where there is a venv: %s',
    async (command) => {
      await program('uv', 'exit 1');
      const first = await bootstrap([command]);
      expect(first.stderr).toContain('needs Python 3 with pip or venv');
      const workspace = path.join(dir, '.local/share/lotus-worker');
      await mkdir(path.join(workspace, 'venvs', 'runtime'), { recursive: true });
      await symlink('venvs/runtime', path.join(workspace, 'venv'));
      const { stdout, exitCode } = await bootstrap([command]);
      expect({ exitCode, stdout }).toEqual({
        exitCode: 0,
        stdout: expect.stringContaining('with  and'),
      });
    },
  );

  it('takes a relative WORKSPACE for one in the folder that it was started in', async () => {
    await mkdir(path.join(dir, 'here'));
    const { stdout } = await bootstrap(
      ['infer'],
      { WORKSPACE: 'my lotus' },
      path.join(dir, 'here'),
    );
    expect(stdout).toContain(`and ${dir}/here/my lotus:`);
    const test = await bootstrap(['test'], { WORKSPACE: 'my lotus' }, path.join(dir, 'here'));
    expect(test.stdout).toBe(
      `in ${app()} with ${dir}/bin/uv and ${dir}/here/my lotus: test/run.ts`,
    );
  });
});

describe.skipIf(whyNoRoot() !== null)('the workspace', () => {
  const both = ['/workspace', '/runpod-volume'];
  it.each([
    [both, {}],
    [both, { RUNPOD_POD_ID: 'x' }],
    [both, { RUNPOD_POD_ID: 'x', RUNPOD_ENDPOINT_ID: 'x' }],
    [both, { RUNPOD_WEBHOOK_GET_JOB: 'x' }],
    [['/workspace'], { RUNPOD_WEBHOOK_GET_JOB: 'x' }],
    [['/runpod-volume'], {}],
    [['/runpod-volume/huggingface-cache'], {}],
    [[], { RUNPOD_ENDPOINT_ID: 'x' }],
  ])('is where the worker has it, with volumes at %o and %o', async (points, env) => {
    await installed();
    await rm(path.join(dir, 'bin', 'uv'));
    // A uv in each place says which one is looked into.
    const tool = `tools/uv-${await version()}-${os.type()}-${os.machine()}/bin/uv`;
    for (const place of ['volume/workspace', 'volume/runpod-volume', '.local/share/lotus-worker']) {
      const file = path.join(dir, place, ...(place.startsWith('volume') ? ['Lotus'] : []), tool);
      await mkdir(path.dirname(file), { recursive: true });
      await writeFile(file, '#!/bin/sh\necho uv 0.9.0\n');
      await chmod(file, 0o755);
    }
    const target = (point: string) => path.join(dir, 'volume', point.split('/')[1] ?? '');
    const binds = points.map((point) => ({ source: target(point), target: point }));
    const { stdout } = await inRoot([script(), 'infer'], {
      binds,
      env: { PATH: `${dir}/bin:/usr/bin:/bin`, HOME: dir, ...env },
    });
    const mounts = ['/', ...points].map((point) => ({
      point,
      filesystem: 'ext4',
      readOnly: false,
    }));
    const workspace = findWorkspace({ HOME: dir, ...env }, mounts).path;
    expect(stdout).toContain(`with ${workspace}/${tool} and`);
  });
});

async function version(): Promise<string> {
  const text = await readFile(path.join(APP_ROOT, 'python/requirements/tool-uv.lock'), 'utf8');
  return /^uv==([\d.]+)/m.exec(text)?.[1] ?? '';
}

/** What the lock of one that was killed in the middle says of its owner. */
async function killOwner(): Promise<string> {
  await writeFile(app('hold'), '');
  const killed = bootstrap();
  await until(async () => (await log()).includes('installed'));
  process.kill(killed.pid ?? 0, 'SIGKILL');
  await rm(app('hold')); // its npm ends, too
  await killed;
  await until(async () => !(await readdir(app())).includes('inside'));
  await rm(app('log'));
  const owner = await readlink(lock());
  await rm(lock());
  return owner;
}

describe('the lock', () => {
  it('is had by one of those that start at once, and the others find all installed', async () => {
    const all = await Promise.all([1, 2, 3, 4].map(() => bootstrap()));
    expect(
      all.map(({ exitCode, stderr }) => [exitCode, stderr.includes('installing')]).sort(),
    ).toEqual([
      [0, false],
      [0, false],
      [0, false],
      [0, true],
    ]);
    expect(await log()).toEqual(['installed']);
    expect(await left()).toEqual([]);
  });

  it('of one that was killed is taken at once', async () => {
    await symlink(await killOwner(), lock());
    const { exitCode, stderr } = await bootstrap();
    expect({ exitCode, stderr }).toEqual({
      exitCode: 0,
      stderr: 'bootstrap: installing the JavaScript packages',
    });
    expect(await left()).toEqual([]);
  });

  it('of a dead one is taken by one of several that find it, each time', async () => {
    const dead = await killOwner();
    await hurry();
    for (let round = 0; round < 12; round += 1) {
      await rm(app('node_modules/.lotus-worker'), { force: true });
      await rm(app('log'), { force: true });
      await symlink(dead, lock());
      const all = await Promise.all(Array.from({ length: 6 }, () => bootstrap()));
      expect(all.map(({ exitCode }) => exitCode)).toEqual(Array(6).fill(0));
      expect(await log()).toEqual(['installed']);
      expect(await left()).toEqual([]);
    }
  });

  it('is taken also when one died that was taking it', async () => {
    const dead = await killOwner();
    const taker = dead.replace(/ \d+ /, ' 999999999 ');
    const sum = (await execa('cksum', { input: dead })).stdout.trim().replace(' ', '-');
    await symlink(dead, lock());
    await symlink(taker, `${lock()}.${sum}`);
    expect((await bootstrap()).exitCode).toBe(0);
    expect(await left()).toEqual([]);
  });

  it('of one that lives is waited for, however long it takes', async () => {
    await hurry();
    await writeFile(app('hold'), '');
    const owner = bootstrap();
    await until(async () => (await log()).includes('installed'));
    const waiter = bootstrap();
    await until(async () => (await sleeps()) > 600); // each of the two sleeps, and its beats
    expect(await log()).toEqual(['installed']);
    await rm(app('hold'));
    expect((await owner).exitCode).toBe(0);
    const { exitCode, stderr } = await waiter;
    expect(exitCode).toBe(0);
    expect(stderr).toContain(`waiting for process ${owner.pid} on ${os.hostname()} to install`);
    expect(await log()).toEqual(['installed']);
    expect(await left()).toEqual([]);
  });

  it('of one elsewhere is waited for as long as it beats, and taken when it does no more', async () => {
    await hurry();
    await symlink('pod-2 17 1 another/machine', lock());
    const waiter = bootstrap();
    for (let beat = 0; beat < 40; beat += 1) {
      await writeFile(`${lock()}.beat`, `${beat}\n`);
      await sleep(50);
    }
    expect(await log()).toEqual([]);
    const { exitCode, stderr } = await waiter;
    expect(exitCode).toBe(0);
    expect(stderr).toContain('waiting for process 17 on pod-2 to install');
    expect(await left()).toEqual([]);
  });

  it('goes when the one that has it fails', async () => {
    await program('npm', 'exit 1');
    const { exitCode, stderr } = await bootstrap();
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('check the network'),
    });
    expect(await left()).toEqual([]);
  });

  it('that cannot be made is told of', async () => {
    await program('ln', 'echo "ln: no links here" >&2; exit 1');
    const { exitCode, stderr } = await bootstrap();
    expect(stderr).toContain('bootstrap: ln: no links here: run it as who may write there');
    expect(exitCode).toBe(1);
  });
});
