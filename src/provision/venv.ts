import { createHash } from 'node:crypto';
import {
  cp,
  mkdir,
  readdir,
  readFile,
  readlink,
  realpath,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import type { Config, Profile } from '../config.ts';
import { SetupError } from '../errors.ts';
import { PYTHON_MINOR } from './interpreter.ts';
import { type PackageSet, setsFor } from './profile.ts';
import { runProgram } from './program.ts';
import { hasHardLinks, requireRoom } from './room.ts';
import { missing, type Report, ready, type Step } from './step.ts';
import { removeOthers } from './sweep.ts';
import { buildAside, switchLink } from './switch.ts';
import { requireUv, uvEnvironment } from './uv.ts';

/** Written into a venv last of all. */
const STAMP = 'lotus-worker.json';

interface Stamp {
  profile: string;
  /** The digest of the lock whose packages it holds. */
  lock: string;
  /** The packages' byte code and extensions are for this minor version of Python. */
  python: string;
  /** What it was made with. */
  interpreter: string;
}

interface VenvOptions {
  config: Config;
  profile: Profile | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * The step that makes `venv`, a link to `venvs/<profile>-<digest of the lock>`: a venv of Python 3.12 with
 * exactly what the lock names, by its hashes.
 *
 * A venv names its interpreter by an absolute path, which need not be there on the next machine. There, a second
 * one is put beside it, `venvs/<profile>-<digest>@<digest of the interpreter's path>`, with an interpreter of
 * this machine and the packages of the first: nothing is installed again, and machines of several kinds share
 * one volume.
 */
export function venvStep(options: VenvOptions): Step {
  const { config, profile } = options;
  const venvs = path.join(config.workspace, 'venvs');
  const link = path.join(config.workspace, 'venv');

  async function look(interpreter: string | undefined) {
    const [first, ...others] = await setsFor(profile ?? config.profile);
    if (first === undefined) throw new Error('there is no set of packages');
    const linked = await readlink(link).catch(() => ''); // there is none yet
    const built = [];
    for (const set of [first, ...others]) {
      if (await isBuilt(path.join(venvs, set.name), set)) built.push(set);
    }
    const set = built.find(({ name }) => path.basename(linked).startsWith(name)) ?? built[0];
    const home = path.join(venvs, (set ?? first).name);
    const fitting = set && interpreter ? await fittingVenv(home, interpreter) : null;
    const isLinked = fitting !== null && path.basename(linked) === path.basename(fitting);
    return { set: set ?? first, isBuilt: set !== undefined, home, fitting, isLinked };
  }

  return {
    name: 'venv',
    async check({ interpreter }) {
      const { set, isBuilt, fitting, isLinked } = await look(interpreter);
      if (!isBuilt) return missing(`a venv with the ${describe(set)}`, set.installedBytes);
      if (fitting === null) return missing(`this machine's Python for the ${describe(set)}`, 10e6);
      if (!isLinked) return missing(`the link to the ${describe(set)}`);
      return ready(describe(set), { python: pythonOf(fitting) });
    },
    async make({ interpreter }, report) {
      const { set, isBuilt, home, fitting } = await look(interpreter);
      const build = { ...options, set, home, interpreter, report };
      if (!isBuilt) await install(build);
      // Installing was with this machine's interpreter.
      const venv = fitting ?? (isBuilt ? await putInterpreter(build) : home);
      await switchLink(link, venv);
      const isUsed = (name: string) => name.split('@')[0] === set.name;
      const superseded = await distributionsOf(venvs, (name) => !isUsed(name));
      const removed = await removeOthers(config.workspace, 'venvs', isUsed, report);
      // What no venv has a link to any more takes room for nothing.
      const unused = removed ? await lackingIn(home, superseded) : [];
      if (unused.length > 0) await cleanCache(unused, build);
      return ready(`${describe(set)} in ${venv}`, { python: pythonOf(venv) });
    },
  };
}

interface Build extends VenvOptions {
  set: PackageSet;
  /** Where the packages are. */
  home: string;
  interpreter: string;
  report: Report;
}

function describe({ profile, digest }: PackageSet): string {
  return `${profile} packages ${digest}`;
}

function pythonOf(venv: string): string {
  return path.join(venv, 'bin', 'python');
}

/** Whether a venv was finished, and holds what the lock names. */
async function isBuilt(venv: string, set: PackageSet): Promise<boolean> {
  try {
    const stamp: Stamp = JSON.parse(await readFile(path.join(venv, STAMP), 'utf8'));
    return stamp.lock === set.digest && stamp.python === PYTHON_MINOR;
  } catch {
    return false; // no stamp: nothing there, or none of ours
  }
}

/** The venv of those packages whose interpreter is this one; null when there is none. */
async function fittingVenv(home: string, interpreter: string): Promise<string | null> {
  for (const venv of [home, besides(home, interpreter)]) {
    const its = await realpath(pythonOf(venv)).catch(() => null); // not on this machine
    if (its === interpreter) return venv;
  }
  return null;
}

function besides(home: string, interpreter: string): string {
  return `${home}@${createHash('sha256').update(interpreter).digest('hex').slice(0, 8)}`;
}

async function install(build: Build): Promise<void> {
  const { config, set, home, interpreter, signal, report } = build;
  const uv = await requireUv(config, signal);
  await mkdir(path.dirname(home), { recursive: true });
  const linksFiles = await hasHardLinks(config.workspace);
  if (!linksFiles) await requireRoom(config.workspace, 2 * set.installedBytes); // uv copies from its cache
  report(`installing the ${set.profile} packages for ${interpreter}`);
  await rm(home, { recursive: true, force: true }); // it is none of ours, or its stamp is damaged
  await buildAside(home, async (aside) => {
    const python = pythonOf(aside);
    const venv = ['venv', '--relocatable', '--allow-existing', '--python', interpreter, aside];
    await run(uv, venv, build);
    // With byte code the imports take a third of the time, and the venv may be read-only later.
    const how = ['--python', python, '--require-hashes', '--compile-bytecode'];
    await run(uv, ['pip', 'install', ...how, '--requirements', set.lock], build);
    await prove(python, build);
    const { profile, digest: lock } = set;
    const stamp: Stamp = { profile, lock, python: PYTHON_MINOR, interpreter };
    await writeFile(path.join(aside, STAMP), `${JSON.stringify(stamp, null, 2)}\n`);
  });
  if (!linksFiles) await cleanCache([], build);
}

/** Put this machine's interpreter beside the packages. */
async function putInterpreter(build: Build): Promise<string> {
  const { home, interpreter, report } = build;
  const target = besides(home, interpreter);
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
  return target;
}

/** See https://docs.python.org/3.12/library/venv.html#how-venvs-work */
function configOf(interpreter: string): string {
  const home = path.dirname(interpreter);
  return `home = ${home}\nversion_info = ${PYTHON_MINOR}\ninclude-system-site-packages = false\nrelocatable = true\n`;
}

async function prove(python: string, build: Build): Promise<void> {
  build.report('proving it by its imports');
  await run(python, ['-I', '-c', build.set.proof], build);
}

/** The `name-version` of every package in the venvs of such names. */
async function distributionsOf(
  venvs: string,
  isMeant: (name: string) => boolean,
): Promise<Set<string>> {
  const found = new Set<string>();
  for (const name of (await readdir(venvs)).filter(isMeant)) {
    const packages = path.join(venvs, name, 'lib', `python${PYTHON_MINOR}`, 'site-packages');
    const files = await readdir(packages).catch(() => []); // none of ours
    for (const file of files.filter((one) => one.endsWith('.dist-info'))) {
      found.add(path.basename(file, '.dist-info'));
    }
  }
  return found;
}

/** The names of the packages that a venv has not, or not of that version. */
async function lackingIn(home: string, distributions: ReadonlySet<string>): Promise<string[]> {
  const has = await distributionsOf(path.dirname(home), (name) => name === path.basename(home));
  return [...distributions].filter((one) => !has.has(one)).map((one) => one.split('-')[0] ?? one);
}

/** Clean uv's cache of some packages, or of all: the workspace's, not one of the operator's own. */
async function cleanCache(
  packages: readonly string[],
  { config, signal, report }: Build,
): Promise<void> {
  if (!config.uvCache.startsWith(`${config.workspace}${path.sep}`)) return;
  report(`clearing uv's cache of ${packages.length || 'all'} packages`);
  const uv = await requireUv(config, signal);
  await runProgram(uv, ['cache', 'clean', ...packages], { env: uvEnvironment(config), signal });
}

/** What uv says that is worth a line where its progress cannot be drawn: of the downloads, those of 100 MB and more. */
const WORTH_A_LINE =
  /^ *(Resolved|Prepared|Installed|Bytecode|Downloading .*\((\d{3,}\.\dMiB|[\d.]+GiB)\))/;

/** Run a program, its progress on our standard error. */
async function run(file: string, args: readonly string[], build: Build): Promise<void> {
  const { config, signal, report } = build;
  const { failed, shortMessage, stderr } = await runProgram(file, args, {
    env: uvEnvironment(config),
    showProgress: true,
    onLine: (line) => WORTH_A_LINE.test(line) && report(line.trim()),
    signal,
  });
  if (failed) throw new SetupError(`${shortMessage}\n${last(stderr)}\n${adviceOn(stderr)}`);
}

function last(text: string): string {
  return text.trim().split('\n').slice(-15).join('\n');
}

function adviceOn(stderr: string): string {
  if (/No space left on device|Disk quota exceeded|os error (28|122)/.test(stderr)) {
    return 'The workspace is full: free some room, or set WORKSPACE to a larger volume.';
  }
  if (/[Hh]ash mismatch/.test(stderr)) {
    return (
      'A package is not the one that was locked: nothing of it was installed. Check the index or mirror it' +
      ' comes from (UV_DEFAULT_INDEX, UV_INDEX_URL, PIP_INDEX_URL), and clear its cache.'
    );
  }
  if (/dns error|Failed to fetch|error sending request|[Cc]onnect/.test(stderr)) {
    return "Check the network, and run it again: it goes on from uv's cache.";
  }
  return "Run it again when that is mended: it goes on from uv's cache.";
}
