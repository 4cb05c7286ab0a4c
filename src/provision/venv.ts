import { createHash } from 'node:crypto';
import { readdir, readFile, realpath } from 'node:fs/promises';
import path from 'node:path';
import type { Config, Environment } from '../config.ts';
import type { Profile } from '../settings.ts';
import { PYTHON_MINOR } from './interpreter.ts';
import { roomForPackages } from './package-room.ts';
import { installPackages, putInterpreter, STAMP, type Stamp } from './packages.ts';
import { MACHINE, type PackageSet, setsFor } from './profile.ts';
import { missing, type Report, ready, type Step } from './step.ts';
import { removeUnused } from './sweep.ts';
import { readSwitch, switchLink } from './switch.ts';
import { lastUsed, noteUse } from './used.ts';
import { cleanCacheAfter, distributionsOf } from './uv-cache.ts';
import { isReadOnly } from './volume.ts';

/**
 * So that two versions of the app on one volume, a new one and the one before it, do not make each other install
 * seven gigabytes at every start; and no more of them, so that the volume does not fill.
 */
const VENVS_KEPT = 2;

interface VenvOptions {
  config: Config;
  env: Environment;
  profile: Profile | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * The step that makes `venv`, a link to `venvs/<profile>-<kind of machine>-<digest of the lock>`: a venv of Python
 * 3.12 with exactly what the lock names, by its hashes.
 *
 * A venv names its interpreter by an absolute path, which need not be there on the next machine. There, a second
 * one is put beside it, `<name>@<digest of the interpreter's path>`, with an interpreter of that machine and the
 * packages of the first: nothing is installed again, and machines of several kinds share one volume. Each machine
 * takes the one that fits it; the link is for people.
 */
export function venvStep(options: VenvOptions): Step {
  const { config } = options;
  const { venvs, link } = placesOf(config);
  return {
    name: 'venv',
    async check({ interpreter }) {
      const { set, isBuilt, fitting, isLinked } = await look(options, interpreter);
      if (!isBuilt) {
        const bytes = await bytesFor(set, venvs);
        return missing(`a venv with the ${describe(set)}`, await roomForPackages(config, bytes));
      }
      if (fitting === null) return missing(`this machine's Python for the ${describe(set)}`, 10e6);
      const found = ready(describe(set), { python: pythonOf(fitting) });
      if (isLinked || (await isReadOnly(config.workspace))) return found;
      return { ...found, remember: () => linkAs(link, fitting, path.join(venvs, set.name)) };
    },
    async make({ interpreter }, report) {
      const { set, isBuilt, home, fitting } = await look(options, interpreter);
      const build = { ...options, set, home, interpreter, report };
      await removeSuperseded(venvs, build);
      if (!isBuilt) await installPackages(build);
      // Installing was with this machine's interpreter.
      const own = besides(home, interpreter);
      if (isBuilt && fitting === null) await putInterpreter(own, build);
      const venv = fitting ?? (isBuilt ? own : home);
      await linkAs(link, venv, home);
      return ready(`${describe(set)} in ${venv}`, { python: pythonOf(venv) });
    },
  };
}

function placesOf({ workspace }: Config): { venvs: string; link: string } {
  return { venvs: path.join(workspace, 'venvs'), link: path.join(workspace, 'venv') };
}

/** The set of packages that is there, or is to be, and which venv of it fits this machine. */
async function look({ config, profile }: VenvOptions, interpreter: string | undefined) {
  const { venvs, link } = placesOf(config);
  const [first, ...others] = await setsFor(profile ?? config.profile);
  if (first === undefined) throw new Error('there is no set of packages');
  const linked = baseOf((await readSwitch(link, venvs)) ?? '');
  const built = [];
  for (const set of [first, ...others]) {
    if (await isBuilt(path.join(venvs, set.name), set)) built.push(set);
  }
  const set = built.find(({ name }) => name === linked) ?? built[0];
  const home = path.join(venvs, (set ?? first).name);
  const fitting = set && interpreter ? await fittingVenv(home, interpreter) : null;
  const isLinked = set?.name === linked;
  return { set: set ?? first, isBuilt: set !== undefined, home, fitting, isLinked };
}

/**
 * Point the link at a venv, and note that its packages are used. Without the lock too: a link is switched at once,
 * and what it points to is whole, whosever turn it is.
 */
async function linkAs(link: string, venv: string, home: string): Promise<void> {
  await switchLink(link, venv);
  await noteUse(home);
}

function describe({ profile, digest }: PackageSet): string {
  return `${profile} packages ${digest}`;
}

function pythonOf(venv: string): string {
  return path.join(venv, 'bin', 'python');
}

/** The name of the venv that has the packages of this one. */
function baseOf(name: string): string {
  return name.split('@')[0] ?? name;
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

/** What a venv of ours is called that is for this kind of machine; those without one are of earlier versions. */
const OURS = new RegExp(`^[a-z]+(-${MACHINE})?-[0-9a-f]{12}(@[0-9a-f]{8})?$`);
const NAMES_MACHINE = new RegExp(`-${MACHINE}-[0-9a-f]{12}$`);

/** The venvs that are to go when this one is wanted: those of this kind of machine but the last that were used. */
async function supersededBy(set: PackageSet, venvs: string): Promise<string[]> {
  const names = await readdir(venvs).catch(() => []); // there is none yet
  const isOther = (name: string) => NAMES_MACHINE.test(name) && name !== set.name;
  const others = names.length > 0 ? await lastUsed(venvs, isOther, VENVS_KEPT - 1) : [];
  const kept = new Set([set.name, ...others]);
  return names.filter((name) => OURS.test(name) && !kept.has(baseOf(name)));
}

/** How much room it takes. What goes for it gives its room back first; that is looked at when it is gone. */
async function bytesFor(set: PackageSet, venvs: string): Promise<number> {
  return (await supersededBy(set, venvs)).length > 0 ? 0 : set.installedBytes;
}

/** Before the new one is made, so that no more than two ever take room. */
async function removeSuperseded(
  venvs: string,
  build: VenvOptions & { set: PackageSet; report: Report },
): Promise<void> {
  const { config, set, report } = build;
  const names = await supersededBy(set, venvs);
  if (names.length === 0) return;
  const superseded = await distributionsOf(venvs, names);
  if (await removeUnused(config.workspace, 'venvs', names, report)) {
    await cleanCacheAfter(superseded, venvs, build);
  }
}
