import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import {
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readlink,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Owner, thisProcess } from '../../src/storage/owner.ts';
import {
  copyOfPython,
  interpreter,
  leftovers,
  makeWheel,
  snapshot,
  type Wheel,
} from '../fixtures/provision/chaos-workspace.ts';
import { namespace, whyNoNamespace } from './namespace.ts';
import { talkTo } from './programs.ts';
import { makeSmallApp, runSmall, type SmallApp } from './small-app.ts';

/** Versions of the app on one volume, each with a package of one file. */
const VERSIONS = ['1.0', '2.0', '3.0', '4.0'];
const MACHINE = `${process.platform}-${process.arch}`;

let dir = '';
let wheels: Wheel[] = [];
let apps: SmallApp[] = [];
let settings: Record<string, string> = {};
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'versions-test-'));
  for (const version of VERSIONS) {
    const wheel = await makeWheel(path.join(dir, 'wheels'), 'alpha', version, `v = '${version}'\n`);
    const options = { lock: wheel.entry, proof: 'import alpha', installedBytes: 1e6 };
    wheels = [...wheels, wheel];
    apps = [...apps, await makeSmallApp(path.join(dir, version), options)];
  }
  settings = {
    LOTUS_PYTHON: await interpreter(),
    LOTUS_FLASH_ATTN: 'off',
    NODE_COMPILE_CACHE: path.join(dir, 'compiled'),
    UV_CACHE_DIR: '', // the workspace's own
    UV_FIND_LINKS: path.join(dir, 'wheels'),
    UV_NO_INDEX: '1',
  };
});
afterAll(() => rm(dir, { recursive: true, force: true }));

let workspace = '';
let count = 0;
beforeEach(() => {
  count += 1;
  workspace = path.join(dir, 'volumes', `${count}`, 'Lotus');
});

interface Run {
  env?: Record<string, string>;
  within?: string[];
  cwd?: string;
  args?: string[];
}

/** All steps but the release, which takes its time. The model is a folder. */
async function run(app: SmallApp, { env, within = [], cwd, args = [] }: Run = {}) {
  const all = { ...settings, WORKSPACE: workspace, ...env };
  const options = { within, ...(cwd !== undefined && { cwd }) };
  return await runSmall(app, ['prefetch', '--json', ...args], all, [], options);
}

/** How its venv ended. */
async function venvOf(app: SmallApp, options?: Run): Promise<{ state: string; what: string }> {
  const { stdout, stderr } = await run(app, options);
  const { steps } = JSON.parse(stdout) as {
    steps?: { name: string; state: string; what: string }[];
  };
  return steps?.find(({ name }) => name === 'venv') ?? { state: 'failed', what: stdout + stderr };
}
const made = { state: 'made' };
const ready = { state: 'ready' };

const venvs = async () => (await readdir(path.join(workspace, 'venvs'))).toSorted();
const linked = () => readlink(path.join(workspace, 'venv'));
/** The venv of a version. */
async function nameOf(version: number): Promise<string> {
  const found = [];
  for (const name of await venvs()) {
    const packages = path.join(workspace, 'venvs', name, 'lib', 'python3.12', 'site-packages');
    const isIts = existsSync(path.join(packages, `alpha-${VERSIONS[version]}.dist-info`));
    if (isIts && !name.includes('@')) found.push(name);
  }
  return found.join();
}
const imports = (venv: string) =>
  execa(path.join(workspace, venv, 'bin', 'python'), ['-I', '-c', 'import alpha; print(alpha.v)']);

const [one, two, three, four] = [0, 1, 2, 3].map((version) => () => apps[version] as SmallApp);
if (!one || !two || !three || !four) throw new Error('there are four');

describe('two versions of the app on one volume', () => {
  it('have a venv each, and neither builds again when the other was there', async () => {
    expect(await venvOf(one())).toMatchObject(made);
    expect(await venvOf(two())).toMatchObject(made);
    expect(await venvs()).toHaveLength(2);
    const before = await lstat(path.join(workspace, 'venvs', await nameOf(0), 'lib'));
    // The link is for people: it says whose turn it is, and is no reason to make anything.
    expect(await linked()).toBe(`venvs/${await nameOf(1)}`);
    expect(await venvOf(one())).toMatchObject(ready);
    expect(await linked()).toBe(`venvs/${await nameOf(0)}`);
    expect(await lstat(path.join(workspace, 'venvs', await nameOf(0), 'lib'))).toEqual(before);
    expect(await venvOf(one())).toMatchObject(ready);
  });

  it('make room for a third: what was not used for longest goes', async () => {
    await run(one());
    await run(two());
    await run(one());
    const [first, second] = [await nameOf(0), await nameOf(1)];
    const { state, what } = await venvOf(three());
    expect({ state, what }).toMatchObject(made);
    expect(await venvs()).toEqual([first, await nameOf(2)].toSorted());
    expect(await venvs()).not.toContain(second);
    // uv's cache keeps no package that none of them has.
    const { stdout } = await execa('find', [path.join(workspace, 'cache/uv'), '-name', 'alpha-*']);
    expect(stdout).toContain('alpha-3.0');
  });

  it('are in the way of nothing that others have put there', async () => {
    await run(one());
    const theirs = ['theirs', `runtime-${process.platform}-other-0123456789ab`];
    const earlier = ['runtime-0123456789ab', 'full-ba9876543210@01234567'];
    for (const name of [...theirs, ...earlier]) {
      await mkdir(path.join(workspace, 'venvs', name, 'lib'), { recursive: true });
    }
    await run(two());
    expect(await venvs()).toEqual([...theirs, await nameOf(0), await nameOf(1)].toSorted());
  });

  it('keep the old one while a process works from it, and no longer', async () => {
    await run(one());
    const first = await nameOf(0);
    const worker = talkTo(
      'holds-a-lease',
      workspace,
      path.join(workspace, 'venvs', first, 'bin/python'),
    );
    await worker.line('holds it');
    await run(two());
    await run(three());
    const third = await nameOf(2);
    // As if it had been used last long ago: what counts is the process.
    await utimes(path.join(workspace, 'venvs', first), 1, 1);
    const kept = await run(four());
    expect(kept.stderr).toContain(`kept venvs/${first}: in use by lotus-worker`);
    expect(await venvs()).toEqual([first, third, await nameOf(3)].toSorted());
    await imports(`venvs/${first}`);
    worker.tell('leave');
    await worker.ended();
    const fourth = await nameOf(3);
    await run(two()); // the next that builds
    expect(await venvs()).toEqual([await nameOf(1), fourth].toSorted());
    expect(await readdir(path.join(workspace, 'leases'))).toEqual([]);
  });

  it('keep the old one until the new one is proven', async () => {
    await run(one());
    const options = { lock: wheels[1]?.entry ?? '', proof: 'import beta', installedBytes: 1e6 };
    const broken = await makeSmallApp(path.join(dir, `broken-${count}`), options);
    const { state, what } = await venvOf(broken);
    expect(state).toBe('failed');
    expect(what).toContain("No module named 'beta'");
    expect(await venvs()).toEqual([await nameOf(0)]);
    expect((await imports('venv')).stdout).toBe('1.0');
    expect(await leftovers(workspace)).toEqual([]);
    expect(await venvOf(one())).toMatchObject(ready);
  });
});

describe("another machine's venv beside the packages", () => {
  it('is no reason to write anything, whosever the link is', async () => {
    await run(one());
    const other = { LOTUS_PYTHON: await copyOfPython(path.join(dir, 'python')) };
    expect(await venvOf(one(), { env: other })).toMatchObject(made);
    expect(await linked()).toMatch(/@[0-9a-f]{8}$/);
    const before = await snapshot(workspace);
    expect(await venvOf(one())).toMatchObject(ready);
    expect(await venvOf(one(), { env: other })).toMatchObject(ready);
    expect(await snapshot(workspace)).toEqual(before);
  });

  it.skipIf(whyNoNamespace() !== null)(
    'serves read-only, also when the link is another version’s, or none',
    async () => {
      await run(one());
      await run(two());
      const bind = 'mount --bind "$WORKSPACE" "$WORKSPACE"; mount -o remount,bind,ro "$WORKSPACE"';
      const { within } = await namespace(bind, workspace);
      expect(await venvOf(one(), { within })).toMatchObject(ready);
      await rm(path.join(workspace, 'venv'));
      expect(await venvOf(one(), { within })).toMatchObject(ready);
      const { state, what } = await venvOf(three(), { within });
      expect({ state, what }).toMatchObject({
        state: 'failed',
        what: expect.stringContaining('mounted read-only'),
      });
    },
  );
});

describe('a venv that fits, and a link to another or none', () => {
  const links = [
    ['is another version’s', async () => {}],
    ['is not there', () => rm(path.join(workspace, 'venv'))],
  ] as const;

  it.each(links)('serves while another builds, when the link %s', async (_what, prepare) => {
    await run(one());
    await run(two());
    await prepare();
    await holdLock();
    expect(await venvOf(one())).toMatchObject(ready);
    expect(await linked()).toBe(`venvs/${await nameOf(0)}`);
    expect(existsSync(path.join(workspace, 'bootstrap.lock'))).toBe(true);
  });

  it.skipIf(whyNoNamespace() !== null).each(links)(
    'serves another user, who may not write, when the link %s, and that is told',
    async (_what, prepare) => {
      await run(one());
      await run(two());
      await prepare();
      await execa('chown', ['-R', '65534', workspace]);
      const before = await snapshot(workspace);
      // Root as any other user is: what is another's it may not write to.
      const within = ['setpriv', '--bounding-set', '-dac_override,-dac_read_search'];
      const { stdout, stderr } = await run(one(), { within });
      expect(stderr).toContain('could not be written down: EACCES');
      const steps: { name: string; state: string }[] = JSON.parse(stdout).steps;
      expect(steps.find(({ name }) => name === 'venv')).toMatchObject(ready);
      expect(await snapshot(workspace)).toEqual(before);
    },
  );
});

it('is ready though another is clearing up what a killed run left, and does not take it from that one', async () => {
  await run(one());
  const lock = await holdLock({ pid: spawnSync('true').pid });
  const claim = await holdLock(ELSEWHERE, path.join(lock, 'claim'));
  const { exitCode, stderr } = await run(one());
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
  expect(stderr).toContain('another has the lock, and clears up');
  expect(stderr).not.toContain('waiting for');
  expect(existsSync(path.join(claim, 'owner.json'))).toBe(true);
});

const ELSEWHERE: Partial<Owner> = { machine: 'another machine', host: 'pod-2' };

/** Somebody holds the lock, by default one on another machine who goes on building. */
async function holdLock(
  whose = ELSEWHERE,
  dir = path.join(workspace, 'bootstrap.lock'),
): Promise<string> {
  const owner = { ...thisProcess(), token: 'theirs', ...whose };
  await mkdir(dir);
  await writeFile(path.join(dir, 'owner.json'), JSON.stringify(owner));
  await writeFile(path.join(dir, 'beat'), '');
  return dir;
}

describe('what stands in the place of a link', () => {
  const INTACT = [
    ['a folder', 'venv', (file: string) => mkdir(path.join(file, 'bin'), { recursive: true })],
    ['a file', 'venv', (file: string) => writeFile(file, '')],
    ['a link to /usr', 'venv', (file: string) => symlink('/usr', file)],
    ['a link to elsewhere', 'venv', (file: string) => symlink('elsewhere', file)],
  ] as const;
  it.each(INTACT)(
    '%s at %s is somebody’s: it is told of before anything is made',
    async (what, name, put) => {
      await mkdir(workspace, { recursive: true });
      await put(path.join(workspace, name));
      const before = await snapshot(workspace);
      const { exitCode, stderr } = await runSmall(one(), ['bootstrap', '--no-warmup'], {
        ...settings,
        WORKSPACE: workspace,
      });
      expect(stderr).toContain(
        `${path.join(workspace, name)} is ${what}, and is to be a link into`,
      );
      expect(stderr).toContain('move it away');
      expect(exitCode).toBe(1);
      expect(await snapshot(workspace)).toEqual(before);
    },
  );

  it.each([
    ['a folder', (file: string) => mkdir(path.join(file, 'handler'), { recursive: true })],
    ['a link to venvs/x', (file: string) => symlink('venvs/x', file)],
  ])('%s at src is somebody’s: it is told of, and the rest is made', async (what, put) => {
    await mkdir(workspace, { recursive: true });
    const src = path.join(workspace, 'src');
    await put(src);
    const { ino, mtimeMs } = await lstat(src);
    const all = { ...settings, WORKSPACE: workspace };
    const { exitCode, stderr } = await runSmall(one(), ['bootstrap', '--no-warmup'], all);
    expect(stderr).toContain(`${src} is ${what}, and is to be a link into`);
    expect(stderr).toContain('move it away');
    expect(exitCode).toBe(0);
    expect(await lstat(src)).toMatchObject({ ino, mtimeMs });
  });
});

describe('uv', () => {
  it('is told by nothing that lies about, and by the operator only where packages come from', async () => {
    const cwd = path.join(dir, 'a project');
    await mkdir(cwd, { recursive: true });
    await writeFile(path.join(cwd, 'uv.toml'), 'link-mode = "copy"\nfind-links = ["/no/such"]\n');
    await writeFile(path.join(cwd, 'pyproject.toml'), '[tool.uv]\nno-such-thing = 1\n[project');
    // uv looks for it in the folders above, too.
    await mkdir(workspace, { recursive: true });
    await writeFile(path.join(path.dirname(workspace), 'uv.toml'), 'no such thing');
    const env = {
      UV_LINK_MODE: 'copy',
      UV_CONFIG_FILE: path.join(cwd, 'uv.toml'),
      UV_NO_CACHE: '1',
    };
    expect(await venvOf(one(), { cwd, env })).toMatchObject(made);
    const file = `lib/python3.12/site-packages/alpha/__init__.py`;
    expect((await lstat(path.join(workspace, 'venv', file))).nlink).toBe(2);
  });

  it('gets none of what is not for it, nor does the proof', async () => {
    const seen = path.join(dir, `seen-${count}`);
    const proof = `import os, alpha; open(${JSON.stringify(seen)}, "w").write(repr(dict(os.environ)))`;
    const lock = wheels[0]?.entry ?? '';
    const app = await makeSmallApp(path.join(dir, `curious-${count}`), {
      lock,
      proof,
      installedBytes: 1e6,
    });
    const uv = path.join(dir, `uv-${count}`);
    const real = process.env.LOTUS_UV || 'uv';
    await writeFile(uv, `#!/bin/sh\nenv >>${seen}-uv\nexec ${real} "$@"\n`, { mode: 0o755 });
    const env = {
      LOTUS_UV: uv,
      LOTUS_API_KEY: 'planted-1',
      AWS_SECRET_ACCESS_KEY: 'planted-2',
      HF_TOKEN: 'planted-3',
    };
    expect(await venvOf(app, { env })).toMatchObject(made);
    const { stdout } = await execa('grep', ['-c', 'planted', seen, `${seen}-uv`], {
      reject: false,
    });
    expect(stdout.split('\n')).toEqual([`${seen}:0`, `${seen}-uv:0`]);
  });

  it.skipIf(whyNoNamespace() !== null)(
    'keeps no second copy where its cache lies on another mount',
    async () => {
      await mkdir(path.join(workspace, 'cache/uv'), { recursive: true });
      const { within, seen } = await namespace(
        'mount -t tmpfs tmpfs "$WORKSPACE/cache/uv"',
        workspace,
      );
      const { stderr, exitCode } = await run(one(), { within });
      expect({ exitCode, stderr }).toMatchObject({
        exitCode: 0,
        stderr: expect.stringContaining('clearing uv'),
      });
      expect(stderr).not.toContain('Failed to hardlink');
      expect((await imports('venv')).stdout).toBe('1.0');
      const { stdout } = await execa('find', [`${seen}${workspace}/cache/uv`, '-name', '*.py']);
      expect(stdout).toBe('');
    },
  );
});

describe('byte code that cannot be looked at', () => {
  it('is not taken for a full workspace when it is not that', async () => {
    // Python runs it as it starts, and ends when it is to look at byte code.
    const code = 'import os, sys\nif "marshal.loads(file" in str(sys.orig_argv): os._exit(3)\n';
    const { entry } = await makeWheel(path.join(dir, 'wheels'), 'sitecustomize', '1.0', code);
    const options = { lock: entry, proof: 'import sitecustomize', installedBytes: 1e6 };
    const app = await makeSmallApp(path.join(dir, `ends-${count}`), options);
    const { state, what } = await venvOf(app);
    expect({ state, what }).toMatchObject({
      state: 'failed',
      what: expect.stringMatching(/Byte code could not be looked at\. .*exit code 3/),
    });
    expect(what).not.toContain('workspace is full');
  });
});

describe('a package that is another than the one that was locked', () => {
  const refused = async (app: SmallApp, env = {}) => {
    const { state, what } = await venvOf(app, { env });
    expect({ state, what }).toMatchObject({
      state: 'failed',
      what: expect.stringContaining('is not the one that was locked'),
    });
    expect(existsSync(path.join(workspace, 'venv'))).toBe(false);
    expect(await venvs()).toEqual([]);
    expect(await leftovers(workspace)).toEqual([]);
  };

  it('by the lock’s digest is not installed', async () => {
    const entry = wheels[0]?.entry ?? '';
    const lock = entry.replace(/:(.)/, (_all, digit) => (digit === '0' ? ':1' : ':0'));
    const options = { lock, proof: 'import alpha', installedBytes: 1e6 };
    await refused(await makeSmallApp(path.join(dir, `tampered-${count}`), options));
  });

  it('by its own bytes is not installed', async () => {
    const other = path.join(dir, `other-${count}`);
    await makeWheel(other, 'alpha', '1.0', "v = 'another'\n");
    await refused(one(), { UV_FIND_LINKS: other });
    expect(await venvOf(one())).toMatchObject(made);
  });
});

describe.skipIf(whyNoNamespace() !== null)('a disk that fills', () => {
  it('is told of, nothing half made is believed in, and it goes on when there is room', async () => {
    const lock: string[] = [];
    for (const name of ['big_one', 'big_two']) {
      const code = `"""${'big '.repeat(1_500_000)}"""\n`;
      const { entry } = await makeWheel(path.join(dir, 'wheels'), name, '1.0', code);
      lock.push(entry.replace('_', '-'));
    }
    const options = { lock: lock.join(''), proof: 'import big_one, big_two', installedBytes: 1e6 };
    const app = await makeSmallApp(path.join(dir, 'big'), options);
    await mkdir(workspace, { recursive: true });
    const { within, seen } = await namespace(
      'mount -t tmpfs -o size=16m tmpfs "$WORKSPACE"',
      workspace,
    );
    const { state, what } = await venvOf(app, { within });
    expect({ state, what }).toMatchObject({
      state: 'failed',
      what: expect.stringContaining('The workspace is full: free some room'),
    });
    expect(await readdir(`${seen}${workspace}/venvs`)).toEqual([]);
    const dry = await venvOf(app, { within, args: ['--dry-run'] });
    expect(dry).toMatchObject({ state: 'missing' });
    const [program = '', ...rest] = within;
    await execa(program, [...rest, 'mount', '-o', 'remount,size=200m', workspace]);
    expect(await venvOf(app, { within })).toMatchObject(made);
    expect(await leftovers(`${seen}${workspace}`)).toEqual([]);
    expect(await venvOf(app, { within })).toMatchObject(ready);
  });
});

it(`has the kind of machine in a venv's name`, async () => {
  await run(one());
  expect(await venvs()).toEqual([
    expect.stringMatching(new RegExp(`^runtime-${MACHINE}-[0-9a-f]{12}$`)),
  ]);
});
