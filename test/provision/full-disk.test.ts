import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { APP_ROOT } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { provision } from '../../src/provision/provision.ts';
import { type Hub, startHub } from '../fixtures/hub.ts';
import { namespace, whyNoNamespace } from './namespace.ts';
import { makeSmallApp, runSmall } from './small-app.ts';

/** The real client, and disks of a few megabytes, in memory. */
const DOWNLOADS = path.join(APP_ROOT, 'test', 'fixtures', 'provision', 'downloads.ts');
const LARGE_FILE = 'unet/padding.safetensors';
const LARGE = { [LARGE_FILE]: randomBytes(25_000_000) };

let python = '';
beforeAll(async () => {
  const config = readConfig(process.env);
  const steps = ['interpreter', 'venv'] as const;
  python = (await provision({ config, env: process.env, steps, observer: {} })).made.python;
});

async function hubOf(files: Record<string, Buffer>): Promise<Hub> {
  const folder = path.join(APP_ROOT, 'sample', 'checkpoint');
  const hub = await startHub({
    models: { 'org/lotus': { folder, revision: 'a'.repeat(40), files } },
  });
  onTestFinished(() => hub.close());
  return hub;
}

/** A disk of so many megabytes, and a workspace beside it. */
async function diskOf(megabytes: number) {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'full-disk-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const disk = path.join(dir, 'disk');
  const workspace = path.join(dir, 'Lotus');
  const mounts = await namespace(
    `mkdir '${disk}'; mount -t tmpfs -o size=${megabytes}m tmpfs '${disk}'`,
    workspace,
  );
  return { disk, workspace, mounts };
}

interface Where {
  hub: Hub;
  mounts: { within: string[] };
  env: Record<string, string>;
}

function download({ hub, mounts, env }: Where, ...args: string[]) {
  const [program = '', ...rest] = mounts.within;
  return execa(program, [...rest, process.execPath, DOWNLOADS, python, ...args], {
    reject: false,
    stdin: 'ignore',
    env: { MODEL_ID: 'org/lotus', HF_ENDPOINT: hub.url, NO_PROXY: '*', ...env },
  });
}

const gets = (hub: Hub) => hub.requests.filter(({ method, file }) => method === 'GET' && file);

describe.skipIf(whyNoNamespace())('a download to a disk that is too small', () => {
  it('is refused before the first byte, once the hub has said how much it is', async () => {
    const { disk, workspace, mounts } = await diskOf(20);
    const where = {
      hub: await hubOf(LARGE),
      mounts,
      env: { WORKSPACE: workspace, HF_HOME: disk },
    };
    const { exitCode, stderr } = await download(where);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/disk\/hub has 2\d MB free, and \d\d MB are needed/);
    expect(stderr).toContain('or set HF_HOME to');
    expect(gets(where.hub)).toEqual([]);
  });

  it('is refused before the packages are installed that it takes', async () => {
    const { disk, workspace, mounts } = await diskOf(20);
    const app = await makeSmallApp(path.join(path.dirname(workspace), 'app'));
    const env = { WORKSPACE: workspace, HF_HOME: disk, MODEL_ID: 'org/lotus' };
    const { within } = mounts;
    const { stderr } = await runSmall(app, ['prefetch'], env, [], { within });
    expect(stderr).toMatch(/disk\/hub has 2\d MB free, and 5\.3 GB are needed.* or set HF_HOME to/);
    expect((await readdir(workspace)).filter((name) => name.startsWith('venv'))).toEqual([]);
  });

  it('is refused also where it is an update of what is there', async () => {
    const { disk, workspace, mounts } = await diskOf(20);
    const where = { hub: await hubOf({}), mounts, env: { WORKSPACE: workspace, HF_HOME: disk } };
    expect((await download(where)).stdout).toContain('weights: made');
    const other = { ...where, hub: await hubOf(LARGE) };
    expect((await download(other, 'update')).stderr).toContain('are needed');
    expect(gets(other.hub)).toEqual([]);
    expect((await download(other)).stdout).toContain('weights: ready');
  });

  it('says so when the disk fills up on the way, and goes on from there when there is room', async () => {
    const { disk, workspace, mounts } = await diskOf(40);
    const hub = await hubOf(LARGE);
    hub.faults.push({ at: LARGE_FILE, times: 1, kind: 'hang', after: 12_000_000 });
    const where = { hub, mounts, env: { WORKSPACE: workspace, HF_HOME: disk } };
    const downloading = download(where);
    await expect.poll(() => hub.hanging, { timeout: 30_000 }).toBe(1);
    const other = path.join(mounts.seen, disk, 'of somebody else');
    await writeFile(other, Buffer.alloc(60_000_000)).catch(({ code }) =>
      expect(code).toBe('ENOSPC'),
    );
    hub.release();
    const { exitCode, stderr } = await downloading;
    expect(exitCode).toBe(1);
    expect(stderr).toContain('the disk is full. Free some room');
    expect(await readdir(workspace).catch(() => [])).toEqual([]); // no manifest

    await rm(other);
    expect((await download(where)).stdout).toContain('weights: made');
    expect(gets(hub).map(({ range }) => range)).toContain('bytes=10485760-');
  });
});
