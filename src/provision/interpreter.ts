import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Environment } from '../config.ts';
import { SetupError } from '../errors.ts';
import { runProgram } from './program.ts';
import type { Report } from './step.ts';

/** The one that the locked packages are for. */
export const PYTHON_MINOR = '3.12';

/** Prints the path that the interpreter really is, if it is of the right minor version and has venv. */
const PROBE = `
import os, sys, venv
if sys.version_info[:2] != (3, 12): sys.exit("it is Python %d.%d" % sys.version_info[:2])
print(os.path.realpath(sys.executable))
`;

interface Search {
  env: Environment;
  /** LOTUS_PYTHON: this one or none. */
  wanted: string | undefined;
  uv: string;
  /** What uv is told of where its own Pythons and its cache are. */
  uvEnv?: Record<string, string>;
  signal?: AbortSignal | undefined;
}

/**
 * Find a Python 3.12 that runs, or have uv install its own.
 *
 * A candidate counts only when it was run: a version manager's shim of that name can exist and fail.
 *
 * @returns its path, no shim and no link.
 * @throws SetupError saying what was tried.
 */
export async function findInterpreter(search: Search, report: Report): Promise<string> {
  if (search.wanted !== undefined) {
    const probed = await probe(search.wanted, search.signal);
    if ('path' in probed) return probed.path;
    throw new SetupError(
      `LOTUS_PYTHON ${search.wanted} is no Python ${PYTHON_MINOR}: ${probed.fault}`,
    );
  }
  const faults: string[] = [];
  for (const candidate of await candidates(search.env)) {
    const probed = await probe(candidate, search.signal);
    if ('path' in probed) return probed.path;
    if (probed.exists) faults.push(`  ${candidate}: ${probed.fault}`);
  }
  return await uvsOwn(search, faults, report);
}

/** Where a Python 3.12 may be, most likely first. */
async function candidates(env: Environment): Promise<string[]> {
  const home = env.HOME ?? '';
  return [
    ...onPath(env, `python${PYTHON_MINOR}`),
    ...(await pyenvVersions(env.PYENV_ROOT || path.join(home, '.pyenv'))),
    ...onPath(env, 'python3'),
    `/opt/homebrew/bin/python${PYTHON_MINOR}`,
  ];
}

function onPath(env: Environment, name: string): string[] {
  const dirs = (env.PATH ?? '').split(path.delimiter).filter(Boolean);
  return dirs.map((dir) => path.join(dir, name));
}

async function pyenvVersions(root: string): Promise<string[]> {
  const dir = path.join(root, 'versions');
  const versions = await readdir(dir).catch(() => []); // no pyenv here
  return versions
    .filter((version) => version.startsWith(`${PYTHON_MINOR}.`))
    .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
    .map((version) => path.join(dir, version, 'bin', 'python3'));
}

type Probed = { path: string } | { exists: boolean; fault: string };

async function probe(candidate: string, signal: AbortSignal | undefined): Promise<Probed> {
  const { failed, stdout, stderr, code, shortMessage } = await runProgram(
    candidate,
    ['-I', '-c', PROBE],
    { timeout: 20_000, signal },
  );
  if (!failed) return { path: stdout.trim() };
  return { exists: code !== 'ENOENT', fault: stderr.trim().split('\n')[0] || (shortMessage ?? '') };
}

async function uvsOwn(
  { uv, uvEnv = {}, signal }: Search,
  faults: readonly string[],
  report: Report,
): Promise<string> {
  report(`no Python ${PYTHON_MINOR} here; uv gets its own`);
  const managed = ['--managed-python', PYTHON_MINOR];
  const options = { env: uvEnv, signal };
  const installed = await runProgram(uv, ['python', 'install', ...managed], options);
  const found = await runProgram(uv, ['python', 'find', ...managed], options);
  const probed = found.failed ? null : await probe(found.stdout.trim(), signal);
  if (probed && 'path' in probed) return probed.path;
  const tried = faults.length > 0 ? ` Tried:\n${faults.join('\n')}\n` : ' ';
  throw new SetupError(
    `Python ${PYTHON_MINOR} is needed and was not found.${tried}uv could not install its own either: ` +
      `${installed.stderr.trim()}\nInstall Python ${PYTHON_MINOR}, or set LOTUS_PYTHON to one.`,
  );
}
