import { realpathSync } from 'node:fs';
import { mkdir, mkdtemp, realpath, rm, symlink } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { APP_ROOT } from '../src/app.ts';
import { type Mount, readMounts } from '../src/mounts.ts';
import { findWorkspace, type Workspace } from '../src/workspace.ts';
import { inRoot, makeDiskFolder, whyNoRoot } from './docker/root.ts';

const HOME = { HOME: '/home/user' };
const POD = { ...HOME, RUNPOD_POD_ID: 'abc123' };
const QUEUE = { ...HOME, RUNPOD_WEBHOOK_GET_JOB: 'https://api.runpod.ai/v2/x/job-take/y' };
const ENDPOINT = { ...HOME, RUNPOD_ENDPOINT_ID: 'ep1' };

const at = (point: string, filesystem = 'nfs4'): Mount => ({ point, filesystem, readOnly: false });
const ROOT = at('/', 'overlay');
const WORKSPACE = at('/workspace');
const RUNPOD_VOLUME = at('/runpod-volume', 'fuse.mfs');
/** RunPod mounts the models that an endpoint is told to have cached here, also without a volume. */
const CACHED_MODELS = at('/runpod-volume/huggingface-cache', 'nfs4');
const PROC = at('/proc', 'proc');

describe('the workspace', () => {
  it.each([
    ['/workspace', WORKSPACE],
    ['/runpod-volume', RUNPOD_VOLUME],
  ])('is a folder on the volume that is mounted at %s', (point, volume) => {
    for (const env of [HOME, POD, QUEUE, ENDPOINT]) {
      expect(findWorkspace(env, [ROOT, volume])).toMatchObject({
        path: `${point}/Lotus`,
        origin: 'volume',
      });
    }
  });

  it.each([
    ['on a pod', POD, '/workspace/Lotus'],
    ['on any other machine', HOME, '/workspace/Lotus'],
    ['for a queue of serverless jobs', QUEUE, '/runpod-volume/Lotus'],
    ['for a serverless endpoint', ENDPOINT, '/runpod-volume/Lotus'],
    [
      'for a serverless worker, which has a pod id too',
      { ...POD, ...QUEUE },
      '/runpod-volume/Lotus',
    ],
  ])('is on the one that is the volume there, when both are mounted, %s', (_where, env, wanted) => {
    for (const mounts of [
      [ROOT, WORKSPACE, RUNPOD_VOLUME],
      [ROOT, RUNPOD_VOLUME, WORKSPACE],
    ]) {
      expect(findWorkspace(env, mounts)).toMatchObject({ path: wanted, origin: 'volume' });
    }
  });

  const users = path.join(os.homedir(), '.local/share/lotus-worker');
  it.each([
    ['XDG_DATA_HOME', { ...HOME, XDG_DATA_HOME: '/data/xdg' }, '/data/xdg/lotus-worker'],
    ['HOME', HOME, '/home/user/.local/share/lotus-worker'],
    [
      'HOME, where XDG_DATA_HOME is empty',
      { ...HOME, XDG_DATA_HOME: '' },
      '/home/user/.local/share/lotus-worker',
    ],
    ['the user, where HOME is not set', {}, users],
    ['the user, where HOME is empty', { HOME: '' }, users],
  ])('is in the data folder by %s where no volume is', (_by, env, wanted) => {
    expect(findWorkspace(env, [ROOT])).toEqual({
      path: wanted,
      origin: 'home',
      mount: ROOT,
      fault: null,
    });
  });

  it.each(['/workspace2', '/workspace/other', '/mnt/workspace', '/runpod-volume-old'])(
    'is not on a mount that is only called like a volume: %s',
    (point) => {
      expect(findWorkspace(HOME, [ROOT, at(point)]).origin).toBe('home');
      expect(findWorkspace(POD, [ROOT, at(point)]).fault).toContain('No volume is mounted');
    },
  );

  it('is the setting, before any volume', () => {
    const found = findWorkspace({ ...HOME, WORKSPACE: '/opt/mine' }, [ROOT, WORKSPACE]);
    expect(found).toEqual({ path: '/opt/mine', origin: 'setting', mount: ROOT, fault: null });
  });

  it('is not the setting when that is empty', () => {
    expect(findWorkspace({ ...HOME, WORKSPACE: '' }, [ROOT]).origin).toBe('home');
  });

  it('is absolute, whatever the setting is', () => {
    expect(findWorkspace({ ...HOME, WORKSPACE: 'here' }, [ROOT]).path).toBe(path.resolve('here'));
    expect(findWorkspace({ ...HOME, WORKSPACE: '/a/b/../c/' }, [ROOT]).path).toBe('/a/c');
  });

  it('may be anywhere where nothing is known of mounts', () => {
    expect(findWorkspace(HOME, [])).toMatchObject({ mount: undefined, fault: null });
  });
});

describe('on RunPod', () => {
  it.each([
    ['a pod', POD],
    ['a queue', QUEUE],
    ['an endpoint', ENDPOINT],
  ])('%s without a volume is told what is wrong and each thing that can be done', (_what, env) => {
    const { fault } = findWorkspace(env, [ROOT]);
    expect(fault).toContain('No volume is mounted at /workspace or /runpod-volume');
    expect(fault).toContain('Attach a network volume');
    expect(fault).toContain('set WORKSPACE');
    expect(fault).toContain('LOTUS_ALLOW_EPHEMERAL=1');
  });

  it('the folder of the cached models is no volume', () => {
    const found = findWorkspace(QUEUE, [ROOT, CACHED_MODELS]);
    expect(found).toMatchObject({ origin: 'home', mount: ROOT });
    expect(found.fault).toContain('No volume is mounted');
  });

  it.each([
    ['beside the cached models', '/runpod-volume/Lotus', [ROOT, CACHED_MODELS]],
    ['on the own disk', '/opt/lotus', [ROOT]],
    ['on the own disk, though there is a volume', '/opt/lotus', [ROOT, WORKSPACE]],
    ['beside the volume', '/workspace-2/Lotus', [ROOT, WORKSPACE]],
  ])('a setting %s is a fault that names it', (_where, folder, mounts) => {
    const { fault } = findWorkspace({ ...POD, WORKSPACE: folder }, mounts);
    expect(fault).toContain(`WORKSPACE ${folder} is on no volume`);
    expect(fault).toContain('LOTUS_ALLOW_EPHEMERAL=1');
  });

  it('nothing is fine where mounts are not known', () => {
    expect(findWorkspace(POD, []).fault).toContain('No volume is mounted');
  });
});

describe('with real mounts', () => {
  beforeEach(({ skip }) => {
    const why = whyNoRoot();
    skip(why !== null, why ?? '');
  });

  let volume = '';
  beforeEach(async () => {
    volume = await makeDiskFolder('workspace-test-');
  });
  afterEach(() => rm(volume, { recursive: true, force: true }));

  /** What a process finds where a volume is mounted at these points, or memory. */
  async function find(
    points: readonly string[],
    env: Record<string, string>,
    memory: readonly string[] = [],
  ): Promise<Workspace> {
    const file = (name: string) => JSON.stringify(path.join(APP_ROOT, 'src', name));
    const code = `
      import { readMounts } from ${file('mounts.ts')};
      import { findWorkspace } from ${file('workspace.ts')};
      console.log(JSON.stringify(findWorkspace(process.env, readMounts())));
    `;
    const binds = points.map((target) => ({ source: volume, target }));
    const tmpfs = memory.map((target) => ({ target, sizeMb: 1 }));
    const node = [process.execPath, '--input-type=module', '-e', code] as const;
    const { stdout } = await inRoot(node, { binds, tmpfs, env });
    return JSON.parse(stdout);
  }

  it.each([
    ['/workspace', POD],
    ['/workspace', QUEUE],
    ['/runpod-volume', POD],
    ['/runpod-volume', QUEUE],
  ])('a volume at %s is taken and is no fault', async (point, env) => {
    expect(await find([point], env)).toEqual({
      path: `${point}/Lotus`,
      origin: 'volume',
      mount: { point, filesystem: expect.any(String), readOnly: false },
      fault: null,
    });
  });

  it('memory at its place is no volume, and is said to be memory when it is asked for', async () => {
    const found = await find([], POD, ['/workspace']);
    expect(found.origin).toBe('home');
    expect(found.fault).toContain('No volume is mounted');
    const asked = await find([], { ...POD, WORKSPACE: '/workspace/Lotus' }, ['/workspace']);
    expect(asked.fault).toContain('WORKSPACE /workspace/Lotus is in memory (tmpfs), and');
    expect((await find(['/runpod-volume'], POD, ['/workspace'])).path).toBe('/runpod-volume/Lotus');
  });

  it('a setting on a mount of any name is no fault', async () => {
    const env = { ...POD, WORKSPACE: '/opt/volume/not/yet' };
    expect(await find(['/opt/volume'], env)).toMatchObject({
      path: '/opt/volume/not/yet',
      mount: { point: '/opt/volume' },
      fault: null,
    });
  });

  it('empty folders of those names are no volumes', async () => {
    const found = await find([], POD);
    expect(found).toMatchObject({ path: '/home/user/.local/share/lotus-worker', origin: 'home' });
    expect(found.fault).toContain('No volume is mounted');
  });

  it('the folder of the cached models is no volume', async () => {
    const found = await find(['/runpod-volume/huggingface-cache'], QUEUE);
    expect(found.origin).toBe('home');
    expect(found.fault).toContain('No volume is mounted');
    const env = { ...QUEUE, WORKSPACE: '/runpod-volume/Lotus' };
    const set = await find(['/runpod-volume/huggingface-cache'], env);
    expect(set.fault).toContain('WORKSPACE /runpod-volume/Lotus is on no volume');
  });
});

describe('LOTUS_ALLOW_EPHEMERAL', () => {
  it.each([
    ['the data folder', POD, [ROOT]],
    ['a setting', { ...POD, WORKSPACE: '/opt/lotus' }, [ROOT]],
    ['memory', { ...POD, WORKSPACE: '/dev/shm/lotus' }, [ROOT, at('/dev/shm', 'tmpfs')]],
  ])('1 takes %s, which goes away, on RunPod too', (_what, env, mounts) => {
    expect(findWorkspace(env, mounts).fault).not.toBeNull();
    expect(findWorkspace(env, mounts, true).fault).toBeNull();
  });

  it.each([
    ['the data folder', HOME, 'No volume is mounted'],
    ['a setting', { ...HOME, WORKSPACE: '/opt/lotus' }, 'WORKSPACE /opt/lotus'],
  ])('0 refuses %s on the own disk of any machine', (_what, env, reason) => {
    expect(findWorkspace(env, [ROOT]).fault).toBeNull();
    expect(findWorkspace(env, [ROOT], false).fault).toContain(reason);
  });

  it('0 takes a setting on a mount', () => {
    const env = { ...HOME, WORKSPACE: path.join(os.tmpdir(), 'lotus') };
    expect(findWorkspace(env, [ROOT, at(realpathSync(os.tmpdir()))], false).fault).toBeNull();
  });
});

describe('a workspace where no files can be', () => {
  it.each([undefined, true, false])('is refused whatever else is said (%s)', (allowed) => {
    for (const env of [HOME, POD]) {
      const found = findWorkspace({ ...env, WORKSPACE: '/proc/lotus' }, [ROOT, PROC], allowed);
      expect(found.fault).toBe(
        'WORKSPACE /proc/lotus is on proc, which holds no files. Set it to a folder on a disk.',
      );
    }
  });

  it.runIf(process.platform === 'linux').each(['/proc/lotus', '/sys/lotus'])(
    'is seen on this machine: %s',
    (folder) => {
      const { fault } = findWorkspace({ ...HOME, WORKSPACE: folder }, readMounts());
      expect(fault).toContain(`WORKSPACE ${folder} is on`);
    },
  );
});

describe('a link', () => {
  let dir = '';
  beforeEach(async () => {
    dir = await realpath(await mkdtemp(path.join(os.tmpdir(), 'workspace-test-')));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it('from the own disk to a volume is on the volume, and is called as the user calls it', async () => {
    await mkdir(path.join(dir, 'volume'));
    await symlink('volume', path.join(dir, 'link'));
    const env = { ...POD, WORKSPACE: path.join(dir, 'link', 'Lotus') };
    const volume = at(path.join(dir, 'volume'));
    expect(findWorkspace(env, [ROOT, volume])).toEqual({
      path: path.join(dir, 'link', 'Lotus'),
      origin: 'setting',
      mount: volume,
      fault: null,
    });
  });

  it('from a volume to the own disk is on the own disk', async () => {
    await mkdir(path.join(dir, 'volume'));
    await mkdir(path.join(dir, 'disk'));
    await symlink('../disk', path.join(dir, 'volume', 'Lotus'));
    const env = { ...POD, WORKSPACE: path.join(dir, 'volume', 'Lotus') };
    const { fault } = findWorkspace(env, [ROOT, at(path.join(dir, 'volume'))]);
    expect(fault).toContain(`WORKSPACE ${env.WORKSPACE} is on no volume`);
  });
});
