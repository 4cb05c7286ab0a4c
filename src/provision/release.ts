import { createHash } from 'node:crypto';
import { chmod, cp, mkdir, open, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { APP_ROOT, CODE_FOLDER, MAIN, VERSION } from '../app.ts';
import type { Config, Environment } from '../config.ts';
import { childEnvironment } from '../environment.ts';
import { SetupError } from '../errors.ts';
import { exists } from '../storage/files.ts';
import { runProgram } from './program.ts';
import { missing, type Report, ready, type Step } from './step.ts';
import { removeUnused } from './sweep.ts';
import { buildAside, readSwitch, switchLink } from './switch.ts';
import { lastUsed, noteUse } from './used.ts';
import { isReadOnly } from './volume.ts';

/** The app, beside its packages and the programs that run it. */
const FILES = [
  'bootstrap',
  'package.json',
  'package-lock.json',
  'LICENSE',
  'README.md',
  CODE_FOLDER,
  'python/lotus_worker',
  'python/requirements',
  'sample',
];

/** So that images of two versions on one volume do not copy themselves anew at every start. */
const RELEASES_KEPT = 3;

/** Importing it all takes a second; from a slow network volume, some. */
const PROOF_MS = 300_000;

const INSTALL = "Install the app's packages again (npm ci --omit=dev), and run it again.";

/** Node.js, the packages with libvips, and the app, about. */
const BYTES = 250e6;

/** What npm's lock says of a package. Optional ones are for other systems, mostly, and are not installed on ours. */
const lockfile = z.object({
  packages: z.record(
    z.string(),
    z.object({
      dev: z.boolean().default(false),
      optional: z.boolean().default(false),
      devOptional: z.boolean().default(false),
    }),
  ),
});

interface ReleaseOptions {
  config: Config;
  env: Environment;
  signal?: AbortSignal | undefined;
}

/**
 * The step that makes `src`, a link to `releases/<version>-<digest>`: a complete copy of the app that is running,
 * with Node.js and uv, so that a pod can run it from the volume when the image is gone.
 */
export function releaseStep({ config, env, signal }: ReleaseOptions): Step {
  const releases = path.join(config.workspace, 'releases');
  const link = path.join(config.workspace, 'src');
  return {
    name: 'release',
    optional: true, // it is for later: the app that runs needs no copy of itself
    async check() {
      const name = await releaseName();
      const linked = await readSwitch(link, releases);
      const target = path.join(releases, name);
      const isThere = await exists(target);
      if (isThere && linked === name) return ready(name);
      if (await isReadOnly(config.workspace)) return ready('not copied to where nobody can write');
      if (!isThere) return missing(name, BYTES);
      return { ...ready(name), remember: () => linkAs(link, target) };
    },
    async make(_made, report) {
      const name = await releaseName();
      const target = path.join(releases, name);
      if (!(await exists(target))) {
        report(`copying the app to ${target}`);
        await mkdir(releases, { recursive: true });
        await buildAside(target, async (aside) => {
          await copyApp(aside, config, report);
          await prove(aside, { config, env, signal });
        });
      }
      await linkAs(link, target);
      const kept = [name, ...(await lastUsed(releases, isRelease, RELEASES_KEPT))];
      const others = (await readdir(releases)).filter((other) => !kept.includes(other));
      await removeUnused(config.workspace, 'releases', others.filter(isRelease), report);
      return ready(`${name}: ${path.join(link, 'bootstrap')} runs it`);
    },
  };
}

/** Point the link at a copy, and note that it is used. Without the lock too: it is switched at once. */
async function linkAs(link: string, target: string): Promise<void> {
  await switchLink(link, target);
  await noteUse(target);
}

/** Whether a folder is called as our copies are: other people's may lie beside them. */
function isRelease(name: string): boolean {
  return /^\d+\.\d+\.\d+.*-[0-9a-f]{12}$/.test(name);
}

/** The version, and a digest of every file of the app's own. The packages follow from their lock. */
async function releaseName(): Promise<string> {
  const hash = createHash('sha256').update(
    `${process.version} ${process.platform}-${process.arch}`,
  );
  for (const file of await appFiles()) {
    hash.update(`\n${file}\n`).update(await readFile(path.join(APP_ROOT, file)));
  }
  return `${VERSION}-${hash.digest('hex').slice(0, 12)}`;
}

async function appFiles(): Promise<string[]> {
  const files: string[] = [];
  for (const name of FILES) {
    const listed = await readdir(path.join(APP_ROOT, name), {
      recursive: true,
      withFileTypes: true,
    }).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOTDIR') files.push(name);
      else if (error.code !== 'ENOENT') throw error; // an installed package has no bootstrap
      return [];
    });
    for (const entry of listed.filter((found) => found.isFile() && isOurs(found.parentPath))) {
      files.push(path.relative(APP_ROOT, path.join(entry.parentPath, entry.name)));
    }
  }
  return files.sort();
}

/** Python leaves its byte code beside the sources it runs. */
function isOurs(file: string): boolean {
  return path.basename(file) !== '__pycache__';
}

async function copyApp(aside: string, config: Config, report: Report): Promise<void> {
  for (const file of await appFiles()) {
    await cp(path.join(APP_ROOT, file), path.join(aside, file));
  }
  for (const folder of await productionPackages()) {
    await cp(folder, path.join(aside, path.relative(APP_ROOT, folder)), {
      recursive: true,
      verbatimSymlinks: true,
      // What is nested in it is in the list too.
      filter: (file) => !path.relative(folder, file).split(path.sep).includes('node_modules'),
    });
  }
  await copyProgram(process.execPath, path.join(aside, 'bin', 'node'));
  const uv = await findProgram(config.uv ?? 'uv');
  if (uv !== null) return await copyProgram(uv, path.join(aside, 'bin', 'uv'));
  report(
    `${config.uv ?? 'uv'} is not copied: it is a script, or not there. A pod gets one when it needs it`,
  );
}

/**
 * The folders of the packages that the app runs with.
 *
 * @throws SetupError when one is not there that has to be.
 */
async function productionPackages(): Promise<string[]> {
  const lock = lockfile.parse(
    JSON.parse(await readFile(path.join(APP_ROOT, 'package-lock.json'), 'utf8')),
  );
  const folders: string[] = [];
  for (const [name, { dev, optional, devOptional }] of Object.entries(lock.packages)) {
    if (name === '' || dev) continue;
    const folder = path.join(APP_ROOT, name);
    if (await exists(folder)) folders.push(folder);
    else if (!optional && !devOptional) throw new SetupError(`${folder} is missing. ${INSTALL}`);
  }
  return folders;
}

async function copyProgram(from: string, to: string): Promise<void> {
  await mkdir(path.dirname(to), { recursive: true });
  await cp(from, to, { dereference: true });
  await chmod(to, 0o755);
}

/** Where a program is; null when it is nowhere, or when it is a script and would not run elsewhere. */
async function findProgram(name: string): Promise<string | null> {
  const dirs = path.isAbsolute(name) ? [''] : (process.env.PATH ?? '').split(path.delimiter);
  for (const dir of dirs) {
    const file = path.join(dir, name);
    const head = await firstTwo(file).catch(() => null); // there is none in this folder
    if (head !== null && head !== '#!') return file;
  }
  return null;
}

async function firstTwo(file: string): Promise<string> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(2), 0, 2);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** See that a copy imports every module that it has, with the libraries that these load, and runs. */
async function prove(aside: string, { config, env, signal }: ReleaseOptions): Promise<void> {
  const node = path.join(aside, 'bin', 'node');
  const main = path.join(aside, path.relative(APP_ROOT, MAIN));
  const files = (await appFiles()).filter((file) => isModule(file));
  const modules = files.map((file) => pathToFileURL(path.join(aside, file)).href);
  const importAll = `for (const module of ${JSON.stringify(modules)}) await import(module);`;
  const options = {
    env: childEnvironment(config, env),
    onlyThisEnv: true,
    timeout: PROOF_MS,
    signal,
  };
  for (const args of [
    ['--input-type=module', '--eval', importAll],
    [main, '--version'],
  ]) {
    const { failed, stderr, shortMessage } = await runProgram(node, args, options);
    if (!failed) continue;
    const why = stderr.trim().split('\n').slice(-15).join('\n') || shortMessage;
    throw new SetupError(`The copy of the app does not run: ${why}\n${INSTALL}`);
  }
}

/** The first file of the command line runs it when it is imported. */
function isModule(file: string): boolean {
  const isCode = file.startsWith(`${CODE_FOLDER}${path.sep}`) && /(?<!\.d)\.[jt]s$/.test(file);
  return isCode && path.resolve(APP_ROOT, file) !== MAIN;
}
