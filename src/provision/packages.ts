import { cp, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Config, Environment } from '../config.ts';
import { childEnvironment } from '../environment.ts';
import { SetupError, withoutCredentials } from '../errors.ts';
import { PYTHON_MINOR } from './interpreter.ts';
import { roomForPackages } from './package-room.ts';
import type { PackageSet } from './profile.ts';
import { runProgram } from './program.ts';
import { hasHardLinks, requireRooms } from './room.ts';
import type { Report } from './step.ts';
import { buildAside } from './switch.ts';
import { requireUv, runUv } from './uv.ts';
import { cleanCache } from './uv-cache.ts';

/** Written into a venv last of all. */
export const STAMP = 'lotus-worker.json';

export interface Stamp {
  profile: string;
  /** The digest of the lock whose packages it holds. */
  lock: string;
  /** The packages' byte code and extensions are for this minor version of Python. */
  python: string;
  /** What it was made with. */
  interpreter: string;
}

interface Build {
  config: Config;
  env: Environment;
  set: PackageSet;
  /** Where the packages are. */
  home: string;
  interpreter: string;
  report: Report;
  signal?: AbortSignal | undefined;
}

/** Make a venv with the packages of a set, and prove it. */
export async function installPackages(build: Build): Promise<void> {
  const { config, set, home, interpreter, signal, report } = build;
  const uv = await requireUv(config, signal);
  await mkdir(path.dirname(home), { recursive: true });
  await mkdir(config.uvCache, { recursive: true });
  // Without links there are two copies for a while: in uv's cache, and those that it gives the venv.
  const linksFiles = await hasHardLinks(path.dirname(home), config.uvCache);
  await requireRooms(await roomForPackages(config, set.installedBytes, linksFiles));
  report(`installing the ${set.profile} packages for ${interpreter}`);
  await rm(home, { recursive: true, force: true }); // it is none of ours, or its stamp is damaged
  await buildAside(home, async (aside) => {
    const python = pythonIn(aside);
    const venv = ['venv', '--relocatable', '--allow-existing', '--python', interpreter, aside];
    await run(uv, venv, build);
    // With byte code the imports take a third of the time, and the venv may be read-only later.
    const how = ['--python', python, '--require-hashes', '--compile-bytecode'];
    const mode = ['--link-mode', linksFiles ? 'hardlink' : 'copy'];
    await run(uv, ['pip', 'install', ...how, ...mode, '--requirements', set.lock], build);
    await proveByteCode(python, aside, build);
    await prove(python, build);
    // Before the switch: who is killed here installs again, and does not keep two copies for ever.
    if (!linksFiles) await cleanCache([], build);
    const { profile, digest: lock } = set;
    const stamp: Stamp = { profile, lock, python: PYTHON_MINOR, interpreter };
    await writeFile(path.join(aside, STAMP), `${JSON.stringify(stamp, null, 2)}\n`);
  });
}

/** Make a venv of this machine's interpreter with the packages of another, and prove it. */
export async function putInterpreter(target: string, build: Build): Promise<void> {
  const { home, interpreter, report } = build;
  report(`putting ${interpreter} in the place of the Python it was made with`);
  await rm(target, { recursive: true, force: true }); // its interpreter was another, or is gone
  await buildAside(target, async (aside) => {
    const bin = path.join(aside, 'bin');
    const lib = path.join(aside, 'lib', `python${PYTHON_MINOR}`);
    const isScript = (file: string) => !/^python[\d.]*$/.test(path.basename(file));
    await cp(path.join(home, 'bin'), bin, { recursive: true, filter: isScript });
    await mkdir(lib, { recursive: true });
    const packages = path.join(home, 'lib', `python${PYTHON_MINOR}`, 'site-packages');
    await symlink(path.relative(lib, packages), path.join(lib, 'site-packages'));
    await symlink('lib', path.join(aside, 'lib64'));
    await symlink(interpreter, path.join(bin, 'python'));
    for (const name of ['python3', `python${PYTHON_MINOR}`]) {
      await symlink('python', path.join(bin, name));
    }
    await writeFile(path.join(aside, 'pyvenv.cfg'), configOf(interpreter));
    await prove(path.join(bin, 'python'), build);
  });
}

function pythonIn(venv: string): string {
  return path.join(venv, 'bin', 'python');
}

/** See https://docs.python.org/3.12/library/venv.html#how-venvs-work */
function configOf(interpreter: string): string {
  const home = path.dirname(interpreter);
  return `home = ${home}\nversion_info = ${PYTHON_MINOR}\ninclude-system-site-packages = false\nrelocatable = true\n`;
}

/** See that a venv imports what it is for. That is code of others: it gets to know what the model process does. */
async function prove(python: string, build: Build): Promise<void> {
  build.report('proving it by its imports');
  const { failed, shortMessage, stderr } = await runPython(python, [build.set.proof], build);
  if (!failed) return;
  throw new SetupError(
    `The packages of ${build.set.lock} do not work on this machine. ${shortMessage}\n${last(stderr)}`,
  );
}

/** Loads all byte code below a folder; prints the first file that cannot be. 16 bytes are its header: see PEP 552. */
const LOAD_BYTE_CODE = `
import marshal, pathlib, sys
for file in pathlib.Path(sys.argv[1]).rglob("*.pyc"):
    try: marshal.loads(file.read_bytes()[16:])
    except Exception as error: sys.exit(f"{file}: {error}")
`;

/**
 * See that byte code is whole. On a full disk older releases of Python 3.12 cut it off and take that for success, and what is not
 * imported by the proof would fail when it is: https://github.com/python/cpython/issues/126606
 */
async function proveByteCode(python: string, venv: string, build: Build): Promise<void> {
  const { failed, stderr, shortMessage } = await runPython(python, [LOAD_BYTE_CODE, venv], build);
  if (!failed) return;
  if (/^\/.*\.pyc: /m.test(stderr)) {
    throw new SetupError(`Byte code is cut off: ${last(stderr)}\n${FULL}`);
  }
  throw new SetupError(`Byte code could not be looked at. ${shortMessage}\n${last(stderr)}`.trim());
}

async function runPython(python: string, args: readonly string[], { config, env, signal }: Build) {
  return await runProgram(python, ['-I', '-c', ...args], {
    cwd: config.workspace,
    env: {
      ...childEnvironment(config, env),
      MPLCONFIGDIR: path.join(config.workspace, 'cache', 'matplotlib'),
    },
    onlyThisEnv: true,
    endsWithUs: true,
    timeout: config.loadTimeoutMs,
    signal,
  });
}

/** What uv says that is worth a line where its progress cannot be drawn: of the downloads, those of 100 MB and more. */
const WORTH_A_LINE =
  /^ *(Resolved|Prepared|Installed|Bytecode|Downloading .*\((\d{3,}\.\dMiB|[\d.]+GiB)\))/;

/** Run uv, its progress on our standard error. */
async function run(uv: string, args: readonly string[], build: Build): Promise<void> {
  const { config, env, signal, report } = build;
  const { failed, shortMessage, stderr } = await runUv(uv, args, {
    config,
    env,
    showProgress: true,
    onLine: (line) => WORTH_A_LINE.test(line) && report(line.trim()),
    signal,
  });
  if (failed) throw new SetupError(`${shortMessage}\n${last(stderr)}\n${adviceOn(stderr)}`);
}

function last(text: string): string {
  return withoutCredentials(text.trim().split('\n').slice(-15).join('\n'));
}

const FULL = 'The workspace is full: free some room, or set WORKSPACE to a larger volume.';

function adviceOn(stderr: string): string {
  if (/No space left on device|Disk quota exceeded|os error (28|122)/.test(stderr)) {
    return FULL;
  }
  if (/[Hh]ash mismatch/.test(stderr)) {
    return (
      'A package is not the one that was locked: nothing of it was installed. Check the index or mirror it' +
      ' comes from (UV_DEFAULT_INDEX, UV_INDEX_URL, UV_FIND_LINKS), and clear its cache.'
    );
  }
  if (/dns error|Failed to fetch|error sending request|[Cc]onnect/.test(stderr)) {
    return "Check the network, and run it again: it goes on from uv's cache.";
  }
  return "Run it again when that is mended: it goes on from uv's cache.";
}
