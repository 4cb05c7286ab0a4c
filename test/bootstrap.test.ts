import { chmod, cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { APP_ROOT, VERSION } from '../src/app.ts';

/** A checkout of its own with nothing installed, and a home of its own. The tests are steps of one story. */
let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'bootstrap test-')); // with a space, on purpose
  const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const { stdout } = await execa('git', list, { cwd: APP_ROOT });
  for (const file of stdout.split('\0').filter(Boolean)) {
    await cp(path.join(APP_ROOT, file), path.join(dir, 'checkout', file));
  }
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** A program that comes first on the PATH. */
async function program(name: string, script: string): Promise<void> {
  const file = path.join(dir, 'bin', name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, `#!/bin/sh\n${script}\n`);
  await chmod(file, 0o755);
}

function bootstrap(...args: string[]) {
  const home = os.homedir();
  return execa(path.join(dir, 'checkout', 'bootstrap'), args, {
    cwd: dir,
    reject: false,
    env: {
      HOME: dir,
      XDG_DATA_HOME: '',
      WORKSPACE: '',
      LOTUS_UV: '',
      PATH: `${path.join(dir, 'bin')}:/usr/bin:/bin`,
      // What was downloaded before need not be again.
      PIP_CACHE_DIR: process.env.PIP_CACHE_DIR ?? path.join(home, '.cache', 'pip'),
      npm_config_cache: process.env.npm_config_cache ?? path.join(home, '.npm'),
    },
  });
}

const tools = () => readdir(path.join(dir, '.local', 'share', 'lotus-worker', 'tools'));

describe('bootstrap', () => {
  it('gets Node and the packages where there are only an old Node and Python 3', async () => {
    await program('node', 'echo v20.20.2');
    const { exitCode, stdout, stderr } = await bootstrap('--version');
    expect(stderr).toContain('getting node-');
    expect(stderr).toContain('installing the JavaScript packages');
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: VERSION });
    expect(await tools()).toEqual([expect.stringMatching(/^node-/)]);
  });

  it('gets uv where there is only a shim that fails, when it is to set up', async () => {
    await program('uv', 'echo "uv: no version is set" >&2; exit 1');
    const { stderr } = await bootstrap('infer', 'no such file.jpg', '--sample');
    expect(stderr).toContain('getting uv-');
    expect(await tools()).toEqual([expect.stringMatching(/^node-/), expect.stringMatching(/^uv-/)]);
  });

  it('has nothing to do the second time, and hands the arguments and the folder over', async () => {
    const { stderr, exitCode } = await bootstrap('infer', 'no such file.jpg', '--sample');
    expect(stderr).not.toContain('bootstrap:');
    expect(stderr).toContain('no such file.jpg: No such file or folder: no such file.jpg');
    expect(exitCode).toBe(1);
  });

  it('installs the packages again when that was interrupted', async () => {
    await rm(path.join(dir, 'checkout', 'node_modules', '.lotus-worker'));
    await rm(path.join(dir, 'checkout', 'node_modules', 'zod'), { recursive: true });
    const { exitCode, stderr } = await bootstrap('--version');
    expect(stderr).toContain('installing the JavaScript packages');
    expect(exitCode).toBe(0);
  });

  it('installs once when several start at once', async () => {
    await rm(path.join(dir, 'checkout', 'node_modules'), { recursive: true });
    const all = await Promise.all([1, 2, 3].map(() => bootstrap('--version')));
    expect(all.map(({ stdout }) => stdout)).toEqual([VERSION, VERSION, VERSION]);
    const installed = all.filter(({ stderr }) => stderr.includes('installing the JavaScript'));
    expect(installed).toHaveLength(1);
    const left = await readdir(path.join(dir, 'checkout'));
    expect(left.filter((name) => name.startsWith('.bootstrap'))).toEqual([]);
  });

  it('shows doctor the uv that it got', async () => {
    const { stdout, exitCode } = await bootstrap('doctor', '--json');
    expect(exitCode).toBe(1); // nothing is set up
    expect(stdout).toContain(path.join('tools', 'uv-'));
  });

  it('says what to do when there is nothing to install with', async () => {
    await rm(path.join(dir, '.local'), { recursive: true });
    await program('python3', 'exit 127');
    await program('python', 'exit 127');
    // Its last resort, which is on every Debian, is out of reach in a place of its own.
    const script = path.join(dir, 'checkout', 'bootstrap');
    await execa('sed', ['-i', 's#/usr/bin/python3##', script]);
    const { exitCode, stderr } = await bootstrap('--version');
    expect(stderr).toContain(
      'needs Python 3 with pip or venv (Debian: apt-get install python3-pip)',
    );
    expect(exitCode).toBe(1);
  });
});
