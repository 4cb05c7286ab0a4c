import { chmod, chown, cp, mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { APP_ROOT } from '../../src/app.ts';
import { findWorkspace } from '../../src/workspace.ts';
import { APP } from './layout.ts';
import { inRoot, makeDiskFolder, type RootOptions, whyNoUsers } from './root.ts';

const USER = 10001;
const ENTRYPOINT = `${APP}/docker/entrypoint`;

/** In lotus-worker's place: tells who it is, and ends as it is told. */
const STAND_IN = `
import { readFileSync } from 'node:fs';
const [command, code] = process.argv.slice(2);
if (command === 'exit') process.exit(Number(code));
if (command === 'wait') {
  process.on('SIGTERM', () => process.exit(7));
  setTimeout(() => process.exit(1), 10_000);
}
const rights = readFileSync('/proc/self/status', 'utf8');
console.log(JSON.stringify({
  uid: process.getuid(),
  gid: process.getgid(),
  groups: process.getgroups(),
  home: process.env.HOME,
  capabilities: /CapEff:\\t(.*)/.exec(rights)[1],
  noNewPrivileges: /NoNewPrivs:\\t(.*)/.exec(rights)[1],
  args: process.argv.slice(2),
}));
`;

let dir = '';
let volume = '';
let app = '';
beforeAll(async () => {
  dir = await makeDiskFolder('entrypoint-test-');
  app = path.join(dir, 'app');
  await cp(path.join(APP_ROOT, 'docker'), path.join(app, 'docker'), { recursive: true });
  await mkdir(path.join(app, 'dist', 'cli'), { recursive: true });
  await writeFile(path.join(app, 'dist', 'cli', 'main.js'), STAND_IN);
  await writeFile(path.join(app, 'package.json'), '{ "type": "module" }');
});
afterAll(() => rm(dir, { recursive: true, force: true }));

beforeEach(async ({ skip }) => {
  const why = whyNoUsers();
  skip(why !== null, why ?? '');
  volume = await mkdtemp(path.join(dir, 'volume-'));
  await chmod(volume, 0o755);
});

interface Start extends RootOptions {
  args?: string[];
  /** Programs that start the entrypoint. */
  by?: string[];
}

function start({ args = ['show'], by = [], binds = [], env = {}, ...rest }: Start = {}) {
  const [program = '', ...others] = [...by, ENTRYPOINT, ...args];
  return inRoot([program, ...others], {
    binds: [
      { source: app, target: APP, readonly: true },
      // Not from where it is: that may be a place that only root can reach.
      { source: process.execPath, target: '/opt/node/node', readonly: true },
      ...binds,
    ],
    env: { PATH: '/opt/node:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', ...env },
    ...rest,
  });
}

/** Who it ran as, and what the entrypoint said. */
async function seen(options: Start = {}) {
  const { stdout, stderr, exitCode } = await start(options);
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
  return { ...JSON.parse(stdout), said: stderr };
}

const at = (target: string, readonly = false) => ({
  binds: [{ source: volume, target, readonly }],
});
const asUser = { uid: USER, said: '' };
const asRoot = (why: string) => ({ uid: 0, said: `lotus-worker: stays root: ${why}` });
const cannotWrite = (what: string) => asRoot(`user ${USER} cannot write ${what}`);

/** A folder on the volume, made by root unless somebody else is named. */
async function folder(name: string, owner = 0): Promise<string> {
  const made = path.join(volume, name);
  await mkdir(made);
  await chown(made, owner, owner);
  return made;
}

const ownerOf = async (name: string) => (await stat(path.join(volume, name))).uid;

describe('the entrypoint, without a volume', () => {
  it('runs the worker as a user without any rights, with a home of its own', async () => {
    const by = ['setpriv', '--groups=4,27'];
    expect(await seen({ by })).toEqual({
      uid: USER,
      gid: USER,
      groups: [USER],
      home: '/home/lotus',
      capabilities: '0000000000000000',
      noNewPrivileges: '1',
      args: ['show'],
      said: '',
    });
  });

  it('hands the arguments over as they are', async () => {
    const args = ['show', 'my photo.jpg', '', '$HOME', "it's", '*'];
    expect((await seen({ args })).args).toEqual(args);
  });

  it('ends with the exit code of the worker', async () => {
    expect(await start({ args: ['exit', '37'] })).toMatchObject({ exitCode: 37 });
  });

  it('lets signals reach the worker, as the user and as root', async () => {
    for (const env of [{}, { LOTUS_RUN_AS_ROOT: '1' }]) {
      const running = start({ args: ['wait'], env });
      running.stdout.once('data', () => running.kill('SIGTERM'));
      expect(await running).toMatchObject({ exitCode: 7 });
    }
  });

  it('works by a link to it', async () => {
    const bin = await mkdtemp(path.join(dir, 'bin-'));
    await symlink(ENTRYPOINT, path.join(bin, 'lotus-worker'));
    const binds = [
      { source: app, target: APP },
      { source: process.execPath, target: '/opt/node/node' },
      { source: bin, target: '/opt/bin' },
    ];
    const env = { PATH: '/opt/node:/opt/bin:/usr/sbin:/usr/bin' };
    const { stdout } = await inRoot(['lotus-worker', 'show'], { binds, env });
    expect(JSON.parse(stdout)).toMatchObject({ uid: USER });
  });
});

describe('the entrypoint, with a volume', () => {
  it.each(['/workspace', '/runpod-volume'])(
    'makes the folder on a fresh one at %s',
    async (point) => {
      expect(await seen(at(point))).toMatchObject(asUser);
      expect(await ownerOf('Lotus')).toBe(USER);
      expect(await ownerOf('.')).toBe(0);
    },
  );

  it('takes an empty folder of root for a new one', async () => {
    await folder('Lotus');
    expect(await seen(at('/workspace'))).toMatchObject(asUser);
    expect(await ownerOf('Lotus')).toBe(USER);
  });

  it('runs as the user again where the user has made it ready', async () => {
    await folder('Lotus', USER);
    await folder('Lotus/cache', USER);
    await folder('Lotus/cache/hub', USER);
    await folder('Lotus/venvs', USER);
    await symlink('venvs/gone', path.join(volume, 'Lotus', 'venv'));
    expect(await seen(at('/workspace'))).toMatchObject(asUser);
  });

  it('stays root where root has made it ready, says so, and changes no owners', async () => {
    await folder('Lotus');
    await folder('Lotus/venvs');
    await folder('Lotus/cache');
    expect(await seen(at('/workspace'))).toMatchObject({
      ...cannotWrite('/workspace/Lotus'),
      home: '/root',
    });
    expect([await ownerOf('Lotus'), await ownerOf('Lotus/venvs')]).toEqual([0, 0]);
  });

  it.each([
    ['Lotus/venvs'],
    ['Lotus/.hidden'],
    ['Lotus/cache', 'Lotus/cache/uv'],
    ['Lotus/cache', 'Lotus/cache/hub', 'Lotus/cache/hub/models--a--b'],
  ])('stays root where only %s %s %s is of root', async (...names) => {
    await folder('Lotus', USER);
    for (const name of names) await folder(name, name === names.at(-1) ? 0 : USER);
    expect(await seen(at('/workspace'))).toMatchObject(cannotWrite(`/workspace/${names.at(-1)}`));
  });

  it('stays root where a folder of the user is closed to the user', async () => {
    await folder('Lotus', USER);
    await chmod(await folder('Lotus/models', USER), 0o200);
    expect(await seen(at('/workspace'))).toMatchObject(cannotWrite('/workspace/Lotus/models'));
  });

  it('stays root where the mount is closed to others, and leaves nothing behind', async () => {
    await chmod(volume, 0o700);
    expect(await seen(at('/workspace'))).toMatchObject(cannotWrite('/workspace/Lotus'));
    await expect(ownerOf('Lotus')).rejects.toThrow('ENOENT');
  });

  it('stays root where owners cannot be changed, and leaves nothing behind', async () => {
    const by = ['setpriv', '--bounding-set=-chown'];
    expect(await seen({ ...at('/workspace'), by })).toMatchObject(cannotWrite('/workspace/Lotus'));
    await expect(ownerOf('Lotus')).rejects.toThrow('ENOENT');
  });

  it('runs on one that can only be read', async () => {
    expect(await seen(at('/workspace', true))).toMatchObject(cannotWrite('/workspace/Lotus'));
    await folder('Lotus', USER);
    expect(await seen(at('/workspace', true))).toMatchObject(cannotWrite('/workspace/Lotus'));
  });

  it.each([
    [],
    ['--version'],
    ['--help'],
    ['help'],
    ['doctor', '--json'],
    ['bootstrap', '--dry-run'],
    ['prefetch', 'org/model', '--dry-run'],
    ['completion', 'bash'],
    ['infer', '-h'],
  ])('makes nothing for a command that only looks: %s %s', async (...args) => {
    const { exitCode, stderr } = await start({ ...at('/workspace'), args });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    await expect(ownerOf('Lotus')).rejects.toThrow('ENOENT');
    await folder('Lotus');
    const again = await start({ ...at('/workspace'), args });
    expect(JSON.parse(again.stdout)).toMatchObject({ uid: USER });
    expect(await ownerOf('Lotus')).toBe(0);
    await folder('Lotus/venvs');
    const stays = await start({ ...at('/workspace'), args });
    expect(stays.stderr).toContain(`stays root: user ${USER} cannot write /workspace/Lotus`);
  });

  it('takes memory that is mounted there for none', async () => {
    const by = ['sh', '-c', 'mkdir -p /workspace/Lotus/x && exec "$@"', 'sh'];
    const tmpfs = [{ target: '/workspace', sizeMb: 1 }];
    expect(await seen({ tmpfs, by })).toMatchObject(asUser);
  });

  it('does not take a mount below its place, nor a folder there, for one', async () => {
    // One of root's in each place: if it were the volume's, the worker would stay root.
    const make = 'mkdir -p /workspace/Lotus/x /runpod-volume/Lotus/x && exec "$@"';
    const by = ['sh', '-c', make, 'sh'];
    for (const point of ['/runpod-volume/huggingface-cache', '/workspace/data']) {
      expect(await seen({ ...at(point), by })).toMatchObject(asUser);
    }
  });

  it('uses WORKSPACE instead where that is set', async () => {
    const env = { WORKSPACE: '/workspace/an other' };
    expect(await seen({ ...at('/workspace'), env })).toMatchObject(asUser);
    expect(await ownerOf('an other')).toBe(USER);
    await expect(ownerOf('Lotus')).rejects.toThrow('ENOENT');
  });

  it('stays root where WORKSPACE lies in a folder that is not there', async () => {
    const env = { WORKSPACE: '/workspace/no/such/Lotus' };
    expect(await seen({ ...at('/workspace'), env })).toMatchObject(
      cannotWrite('/workspace/no/such/Lotus'),
    );
  });

  it.each([
    {},
    { RUNPOD_ENDPOINT_ID: 'x' },
    { RUNPOD_WEBHOOK_GET_JOB: 'x' },
    { RUNPOD_POD_ID: 'x' },
    { WORKSPACE: '/runpod-volume/data' },
  ])('looks where the worker does, of two volumes too: %o', async (env) => {
    const points = ['/workspace', '/runpod-volume'];
    const binds = [];
    const mounts = [];
    for (const point of points) {
      binds.push({ source: await folder(point), target: point });
      mounts.push({ point, filesystem: 'ext4', readOnly: false });
    }
    expect(await seen({ binds, env })).toMatchObject(asUser);
    expect(await ownerOf(findWorkspace(env, mounts).path)).toBe(USER);
  });
});

describe('the entrypoint, with caches elsewhere', () => {
  it('stays root where the user cannot write one, or cannot make it', async () => {
    await folder('hub');
    for (const env of [
      { HF_HOME: '/workspace/hub' },
      { UV_CACHE_DIR: '/workspace/hub/not/there' },
    ]) {
      expect(await seen({ ...at('/workspace'), env })).toMatchObject(cannotWrite('/workspace/hub'));
    }
  });

  it('runs as the user where nobody can write it', async () => {
    await folder('Lotus', USER);
    const hub = { source: await folder('hub'), target: '/workspace/hub', readonly: true };
    const binds = [...at('/workspace').binds, hub];
    const env = { HF_HUB_CACHE: '/workspace/hub' };
    expect(await seen({ binds, env })).toMatchObject(asUser);
  });
});

describe('the entrypoint, as somebody', () => {
  it.each(['1', 'true', 'yes'])('stays root silently by LOTUS_RUN_AS_ROOT=%s', async (value) => {
    const env = { LOTUS_RUN_AS_ROOT: value };
    expect(await seen({ ...at('/workspace'), env })).toMatchObject({ uid: 0, said: '' });
    await expect(ownerOf('Lotus')).rejects.toThrow('ENOENT');
  });

  it('runs as whom it was started as, when that is not root', async () => {
    const by = ['setpriv', '--reuid=12345', '--regid=54321', '--clear-groups'];
    expect(await seen({ ...at('/workspace'), by })).toMatchObject({
      uid: 12345,
      gid: 54321,
      home: '/root',
      said: '',
    });
  });

  it('stays root where the container may not change users', async () => {
    const by = ['setpriv', '--bounding-set=-setuid,-setgid'];
    expect(await seen({ ...at('/workspace'), by })).toMatchObject(
      asRoot(`this container may not change to user ${USER}`),
    );
  });
});
