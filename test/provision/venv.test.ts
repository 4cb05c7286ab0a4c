import { existsSync } from 'node:fs';
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  unlink,
} from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { interpreterStep } from '../../src/provision/interpreter.ts';
import { makeSteps } from '../../src/provision/step.ts';
import { venvStep } from '../../src/provision/venv.ts';

/**
 * The real locked set, into a workspace of the test's own; the packages come from the cache that `bootstrap`
 * has filled. The tests are steps of one story.
 */
let dir = '';
let workspace = '';
beforeAll(async () => {
  dir = await mkdtemp(path.join(path.dirname(readConfig(process.env).workspace), 'venv-test-'));
  workspace = path.join(dir, 'Lotus');
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function provide(env: Record<string, string> = {}, at = workspace) {
  const settings = { UV_CACHE_DIR: readConfig(process.env).uvCache, ...process.env };
  const config = readConfig({ ...settings, ...env, WORKSPACE: at });
  const options = { config, env: process.env, profile: 'runtime' as const };
  const steps = [interpreterStep(options), venvStep(options)];
  await mkdir(at, { recursive: true });
  const { outcomes, made } = await makeSteps(steps, {});
  return { ...outcomes[1], python: made.python };
}

/** Where the packages are. */
async function home(): Promise<string> {
  const [name] = (await readdir(path.join(workspace, 'venvs'))).filter(
    (file) => !file.includes('@'),
  );
  return path.join(workspace, 'venvs', name ?? '');
}

const packages = async () => path.join(await home(), 'lib', 'python3.12', 'site-packages', 'torch');

describe('the venv step', () => {
  it('says so when uv is missing or the interpreter is not one, and leaves nothing half made', async () => {
    await expect(provide({ LOTUS_UV: '/no/such/uv' })).rejects.toThrow('uv is needed');
    await expect(provide({ LOTUS_PYTHON: '/bin/false' })).rejects.toThrow(
      'LOTUS_PYTHON /bin/false',
    );
    expect(existsSync(path.join(workspace, 'venv'))).toBe(false);
  });

  it('makes a venv with what the lock names, its byte code beside it', async () => {
    const { state, python } = await provide();
    expect(state).toBe('made');
    const script =
      'import torch, diffusers; print(torch.__version__, diffusers.__version__, torch.__cached__)';
    const { stdout } = await execa(python, ['-I', '-c', script]);
    const [torch, diffusers, byteCode] = stdout.split(' ');
    expect(torch).toMatch(/^2\.8\.0/);
    expect(diffusers).toBe('0.32.2');
    expect(existsSync(byteCode ?? '')).toBe(true);
  });

  it('links to it by a relative path, and leaves nothing else behind', async () => {
    expect(await readlink(path.join(workspace, 'venv'))).toBe(
      path.join('venvs', path.basename(await home())),
    );
    expect(path.basename(await home())).toMatch(
      new RegExp(`^runtime-${process.platform}-${process.arch}-[0-9a-f]{12}$`),
    );
    expect(await readdir(path.join(workspace, 'venvs'))).toHaveLength(1);
    expect((await readdir(workspace)).toSorted()).toEqual(['cache', 'venv', 'venvs']);
  });

  it('has nothing to do the second time', async () => {
    expect((await provide()).state).toBe('ready');
  });

  it('serves as it is when the whole workspace has moved', async () => {
    const moved = path.join(dir, 'moved');
    await rename(workspace, moved);
    const { state, python } = await provide({}, moved);
    expect(state).toBe('ready');
    await execa(python, ['-I', '-c', 'import torch']);
    // Scripts too: they look for their interpreter beside themselves.
    await execa(path.join(moved, 'venv', 'bin', 'accelerate'), ['--help']);
    await rename(moved, workspace);
  });

  it('gets a Python of this machine when its own is gone, and keeps its packages', async () => {
    const interpreter = path.join(workspace, 'venv', 'bin', 'python');
    const before = await stat(await packages());
    await unlink(interpreter);
    await symlink('/no/such/python', interpreter);
    const { state, python } = await provide();
    expect(state).toBe('made');
    expect(python).toContain('@');
    await execa(python, ['-I', '-c', 'import torch']);
    await execa(path.join(workspace, 'venv', 'bin', 'accelerate'), ['--help']);
    expect((await stat(await packages())).ino).toBe(before.ino);
    expect((await provide()).state).toBe('ready');
  });

  it('names in its stamp the lock and the interpreter', async () => {
    const stamp = JSON.parse(await readFile(path.join(await home(), 'lotus-worker.json'), 'utf8'));
    expect(stamp).toEqual({
      profile: 'runtime',
      lock: expect.stringMatching(/^[0-9a-f]{12}$/),
      python: '3.12',
      interpreter: expect.stringContaining('python'),
    });
  });
});
