import { readdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import type { Config, Environment } from '../config.ts';
import { SetupError } from '../errors.ts';
import { runProgram } from './program.ts';
import { missing, type Report, ready, type Step } from './step.ts';
import { requireUv, runUv } from './uv.ts';

/** The one that the locked packages are for. */
export const PYTHON_MINOR = '3.12';

/** Prints the path that the interpreter really is and its version, if it is the right one and has venv. */
const PROBE = `
import os, sys, venv
if sys.version_info[:2] != (3, 12): sys.exit("it is Python %d.%d" % sys.version_info[:2])
base = getattr(sys, "_base_executable", sys.executable)
print(os.path.realpath(base), "%d.%d.%d" % sys.version_info[:3])
`;

interface InterpreterOptions {
  config: Config;
  env: Environment;
  signal?: AbortSignal | undefined;
}

/**
 * The step that finds a Python 3.12 which runs on this machine, or has uv get one into the workspace.
 *
 * A candidate counts only when it was run: a version manager's shim of that name can exist and fail. The one
 * that the venv was made with comes first, so that a machine with several keeps to one.
 */
export function interpreterStep(options: InterpreterOptions): Step {
  const { config, env, signal } = options;
  const dir = path.join(config.workspace, 'pythons');
  let faults: string[] = [];
  return {
    name: 'interpreter',
    async check() {
      if (config.python !== undefined) return await theOneAskedFor(config.python, signal);
      faults = [];
      for (const candidate of await candidates(config, env)) {
        const probed = await probe(candidate, signal);
        if ('path' in probed) return found(probed);
        if (probed.exists) faults.push(`  ${candidate}: ${probed.fault}`);
      }
      return missing(`Python ${PYTHON_MINOR}, uv's own, in ${dir}`, 100e6);
    },
    async make(_made, report) {
      return found(await installOwn(options, dir, faults, report));
    },
  };
}

interface Interpreter {
  path: string;
  version: string;
}

function found({ path: interpreter, version }: Interpreter) {
  return ready(`Python ${version}, ${interpreter}`, { interpreter });
}

async function theOneAskedFor(wanted: string, signal: AbortSignal | undefined) {
  const probed = await probe(wanted, signal);
  if ('path' in probed) return found(probed);
  throw new SetupError(`LOTUS_PYTHON ${wanted} is no Python ${PYTHON_MINOR}: ${probed.fault}`);
}

/** Where a Python 3.12 may be, most likely first. */
async function candidates(config: Config, env: Environment): Promise<string[]> {
  const home = env.HOME ?? '';
  return [
    path.join(config.workspace, 'venv', 'bin', 'python'),
    ...onPath(env, `python${PYTHON_MINOR}`),
    ...(await versionsIn(path.join(env.PYENV_ROOT || path.join(home, '.pyenv'), 'versions'))),
    ...onPath(env, 'python3'),
    `/opt/homebrew/bin/python${PYTHON_MINOR}`,
    ...(await versionsIn(path.join(config.workspace, 'pythons'), `cpython-`)),
  ];
}

function onPath(env: Environment, name: string): string[] {
  const dirs = (env.PATH ?? '').split(path.delimiter).filter(Boolean);
  return dirs.map((dir) => path.join(dir, name));
}

/** The Pythons in a folder of them, newest first: pyenv's and uv's each have one. */
async function versionsIn(dir: string, prefix = ''): Promise<string[]> {
  const versions = await readdir(dir).catch(() => []); // there is no such folder
  return versions
    .filter((version) => version.startsWith(`${prefix}${PYTHON_MINOR}.`))
    .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
    .map((version) => path.join(dir, version, 'bin', `python${PYTHON_MINOR}`));
}

type Probed = Interpreter | { exists: boolean; fault: string };

async function probe(candidate: string, signal: AbortSignal | undefined): Promise<Probed> {
  const args = ['-I', '-c', PROBE];
  const result = await runProgram(candidate, args, { timeout: 20_000, signal });
  if (!result.failed) {
    const [, executable = '', version = ''] = /^(.*) (\S+)$/.exec(result.stdout.trim()) ?? [];
    return { path: executable, version };
  }
  const { code, stderr, shortMessage = '' } = result;
  return { exists: code !== 'ENOENT', fault: stderr.trim().split('\n')[0] || shortMessage };
}

async function installOwn(
  { config, env, signal }: InterpreterOptions,
  dir: string,
  faults: readonly string[],
  report: Report,
): Promise<Interpreter> {
  report(`no Python ${PYTHON_MINOR} here; uv gets its own`);
  const uv = await requireUv(config, signal);
  const args = ['python', 'install', '--managed-python', '--no-bin', PYTHON_MINOR];
  const { failed, stderr, shortMessage } = await runUv(uv, args, { config, env, signal });
  // On a volume of several kinds of machine those of the others do not run here.
  const own = failed ? [] : await versionsIn(dir, 'cpython-');
  const all = [...faults];
  for (const candidate of own) {
    const probed = await probe(candidate, signal);
    if ('path' in probed) return { ...probed, path: await realpath(candidate) };
    const fault = `  ${candidate}: ${probed.fault}`;
    if (!all.includes(fault)) all.push(fault);
  }
  const tried = all.length > 0 ? ` Tried:\n${all.join('\n')}\n` : ' ';
  throw new SetupError(
    `Python ${PYTHON_MINOR} is needed and was not found.${tried}uv could not install its own either: ` +
      `${stderr.trim() || shortMessage}\nInstall Python ${PYTHON_MINOR}, or set LOTUS_PYTHON to one.`,
  );
}
