import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { SetupError } from '../../src/errors.ts';
import { interpreterStep } from '../../src/provision/interpreter.ts';
import { checkSteps, makeSteps } from '../../src/provision/step.ts';

/** A Python 3.12 that is really there; the search for it is what the other tests build on. */
const config = readConfig({ HOME: os.tmpdir(), LOTUS_PYTHON: process.env.LOTUS_PYTHON });
const found = await checkSteps([interpreterStep({ config, env: process.env })]);
const real = found.made.interpreter ?? '';

let home = '';
beforeEach(async () => {
  home = await mkdtemp(path.join(os.tmpdir(), 'interpreter-test-'));
});
afterEach(() => rm(home, { recursive: true, force: true }));

/** A program in the folder `bin` of our home, which is all of the PATH but for `/bin` and `/usr/bin`. */
async function program(name: string, script: string): Promise<string> {
  const file = path.join(home, 'bin', name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, `#!/bin/sh\n${script}\n`);
  await chmod(file, 0o755);
  return file;
}

async function find(wanted = ''): Promise<string> {
  const env = { HOME: home, PATH: path.join(home, 'bin') };
  const uv = path.join(home, 'bin', 'uv');
  const settings = { ...env, WORKSPACE: workspace(), LOTUS_PYTHON: wanted, LOTUS_UV: uv };
  const { made } = await makeSteps([interpreterStep({ config: readConfig(settings), env })], {});
  return made.interpreter;
}

const workspace = () => path.join(home, 'workspace');

/** What a version manager's shim does when its version is not the chosen one. */
const SHIM = 'echo "pyenv: python3.12: command not found" >&2; exit 127';

describe('the interpreter step', () => {
  it('takes python3.12 from the PATH, and gives the path that it really is', async () => {
    await program('python3.12', `exec ${real} "$@"`);
    expect(await find()).toBe(await realpath(real));
  });

  it('passes over a shim that exists and does not run', async () => {
    await program('python3.12', SHIM);
    await program('python3', `exec ${real} "$@"`);
    expect(await find()).toBe(await realpath(real));
  });

  it("looks into pyenv's versions, where a shim hides what is installed", async () => {
    await program('python3.12', SHIM);
    const bin = path.join(home, '.pyenv', 'versions', '3.12.1', 'bin');
    await mkdir(bin, { recursive: true });
    await symlink(real, path.join(bin, 'python3.12'));
    expect(await find()).toBe(await realpath(real));
  });

  it('has uv get its own when there is none, and probes that too', async () => {
    await program('python3.12', SHIM);
    const own = path.join(workspace(), 'pythons', 'cpython-3.12.9-linux', 'bin');
    await program(
      'uv',
      `if [ "$1" = --version ]; then echo uv 0.9.0; exit; fi
      /bin/mkdir -p ${own}; /bin/ln -s ${real} ${own}/python3.12`,
    );
    expect(await find()).toBe(await realpath(real));
  });

  it('takes the one of this kind of machine, where another kind has left its own', async () => {
    await program('python3.12', SHIM);
    const pythons = path.join(workspace(), 'pythons');
    // The first by its name is the other machine's.
    const [theirs, own] = ['z-other', 'a-this'].map((name) =>
      path.join(pythons, `cpython-3.12.9-${name}`, 'bin'),
    );
    await mkdir(theirs ?? '', { recursive: true });
    await writeFile(path.join(theirs ?? '', 'python3.12'), 'not for this machine', { mode: 0o755 });
    await program(
      'uv',
      `if [ "$1" = --version ]; then echo uv 0.9.0; exit; fi
      /bin/mkdir -p ${own}; /bin/ln -s ${real} ${own}/python3.12`,
    );
    expect(await find()).toBe(await realpath(real));
  });

  it('says what it tried when there is none and uv cannot get one', async () => {
    const shim = await program('python3.12', SHIM);
    await program('python3', 'echo "it is Python 3.9" >&2; exit 1');
    await program(
      'uv',
      '[ "$1" = --version ] && echo uv 0.9.0 || { echo "error: failed to download" >&2; exit 2; }',
    );
    const failure = expect(find()).rejects;
    await failure.toThrow(SetupError);
    await failure.toThrow(`${shim}: pyenv: python3.12: command not found`);
    await failure.toThrow('it is Python 3.9');
    await failure.toThrow('failed to download');
    await failure.toThrow('set LOTUS_PYTHON to one');
  });

  it('keeps to the one that the venv was made with', async () => {
    await program('python3.12', `exec ${real} "$@"`);
    const venv = path.join(workspace(), 'venv', 'bin');
    const mark = path.join(home, 'asked');
    await mkdir(venv, { recursive: true });
    await writeFile(path.join(venv, 'python'), `#!/bin/sh\n: >${mark}\nexec ${real} "$@"\n`);
    await chmod(path.join(venv, 'python'), 0o755);
    await find();
    expect(existsSync(mark)).toBe(true);
  });

  it('takes the one that is wanted, or none', async () => {
    expect(await find(real)).toBe(await realpath(real));
    const other = await program('python3.9', 'echo "it is Python 3.9" >&2; exit 1');
    await expect(find(other)).rejects.toThrow(
      `LOTUS_PYTHON ${other} is no Python 3.12: it is Python 3.9`,
    );
    await expect(find('/no/such/python')).rejects.toThrow('LOTUS_PYTHON /no/such/python');
  });
});
