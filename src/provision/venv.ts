import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { PYTHON_ROOT } from '../app.ts';
import type { Config, Environment } from '../config.ts';
import { SetupError } from '../errors.ts';
import { findInterpreter, PYTHON_MINOR } from './interpreter.ts';
import { runProgram } from './program.ts';
import type { Report, Step } from './step.ts';
import { buildAside, switchLink } from './switch.ts';

/** runtime: what LotusDPipeline imports. dev: the tests' tools too. */
export type Profile = 'runtime' | 'dev';

/** Written into a venv last of all. */
const STAMP = 'lotus-worker.json';

interface Stamp {
  /** The digests of the locks whose packages it holds. */
  locks: string[];
  /** What it was made with. */
  interpreter: string;
}

/** What the model process imports first of all; the rest is upstream's. */
const PROOF = 'import torch, torchvision, diffusers, transformers, matplotlib, tensorboard';

interface VenvOptions {
  config: Config;
  env: Environment;
  profile: Profile;
  signal?: AbortSignal | undefined;
}

/**
 * The step that makes `venv`, a link to `venvs/<profile>-<digest>`: a venv of Python 3.12 with exactly what
 * the lock names, by its hashes.
 *
 * The digest is the lock's, so a changed lock gives another venv; the old one stays until somebody removes
 * it. A development venv serves where a runtime one is asked for, since its lock holds the other's.
 */
export async function venvStep(options: VenvOptions): Promise<Step> {
  const { config, profile } = options;
  const digest = await lockDigest(profile);
  const target = path.join(config.workspace, 'venvs', `${profile}-${digest}`);
  const link = path.join(config.workspace, 'venv');
  const what = `Python ${PYTHON_MINOR}, ${profile} packages ${digest}`;
  return {
    name: 'venv',
    async check() {
      return (await serves(link, digest)) ? what : null;
    },
    async make(report) {
      if (!(await serves(target, digest))) {
        await rm(target, { recursive: true, force: true }); // its interpreter is gone
        await build({ ...options, target, report });
      }
      await switchLink(link, target);
      return `${what} in ${target}`;
    },
  };
}

function lockFile(profile: Profile): string {
  return path.join(PYTHON_ROOT, 'requirements', `${profile}.lock`);
}

async function lockDigest(profile: Profile): Promise<string> {
  const lock = await readFile(lockFile(profile));
  return createHash('sha256').update(lock).digest('hex').slice(0, 12);
}

/** Whether a venv was finished, holds what the lock of that digest names, and still has its interpreter. */
async function serves(venv: string, digest: string): Promise<boolean> {
  try {
    const stamp: Stamp = JSON.parse(await readFile(path.join(venv, STAMP), 'utf8'));
    if (!stamp.locks.includes(digest)) return false;
  } catch {
    return false; // no stamp: nothing there, or not finished
  }
  const { failed } = await runProgram(pythonOf(venv), ['-I', '-c', '']);
  return !failed;
}

function pythonOf(venv: string): string {
  return path.join(venv, 'bin', 'python');
}

async function build(options: VenvOptions & { target: string; report: Report }): Promise<void> {
  const { config, env, profile, signal, target, report } = options;
  const uv = config.uv ?? 'uv';
  await requireUv(uv);
  const search = { env, wanted: config.python, uv, uvEnv: uvEnvironment(config), signal };
  const interpreter = await findInterpreter(search, report);
  report(`installing the ${profile} packages for ${interpreter}; with CUDA that is 7 GB`);
  await mkdir(path.dirname(target), { recursive: true });
  await buildAside(target, async (aside) => {
    const python = pythonOf(aside);
    const venv = ['venv', '--relocatable', '--allow-existing', '--python', interpreter, aside];
    await run(uv, venv, options);
    // With byte code the imports take a third of the time, and the venv may be read-only later.
    const how = ['--python', python, '--require-hashes', '--compile-bytecode'];
    await run(uv, ['pip', 'install', ...how, '--requirements', lockFile(profile)], options);
    report('proving it by its imports');
    await run(python, ['-I', '-c', PROOF], options);
    const profiles: Profile[] = profile === 'dev' ? ['dev', 'runtime'] : ['runtime'];
    const stamp: Stamp = { locks: await Promise.all(profiles.map(lockDigest)), interpreter };
    await writeFile(path.join(aside, STAMP), `${JSON.stringify(stamp, null, 2)}\n`);
  });
}

/** uv keeps to the workspace too. */
function uvEnvironment(config: Config): Record<string, string> {
  return {
    UV_CACHE_DIR: config.uvCache,
    UV_PYTHON_INSTALL_DIR: path.join(config.workspace, 'pythons'),
  };
}

async function requireUv(uv: string): Promise<void> {
  const { failed, shortMessage } = await runProgram(uv, ['--version']);
  if (failed) {
    throw new SetupError(
      `uv is needed to install the Python packages: ${shortMessage}. Start by ./bootstrap, which gets it,` +
        ' or install uv, or set LOTUS_UV to it.',
    );
  }
}

/** Run a program, its progress on our standard error. */
async function run(file: string, args: readonly string[], options: VenvOptions): Promise<void> {
  const { config, signal } = options;
  const { failed, shortMessage, stderr } = await runProgram(file, args, {
    env: uvEnvironment(config),
    showProgress: true,
    signal,
  });
  if (!failed) return;
  const last = stderr.trim().split('\n').slice(-15).join('\n');
  throw new SetupError(
    `${shortMessage}\n${last}\nCheck the network and the free space, and run it again: it goes on from uv's cache.`,
  );
}
