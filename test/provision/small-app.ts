import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { APP_ROOT } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';

/** What `hf download` needs, and no torch: installed in a second. */
const PACKAGES = [
  'certifi',
  'charset-normalizer',
  'filelock',
  'fsspec',
  'hf-xet',
  'huggingface-hub',
  'idna',
  'packaging',
  'pyyaml',
  'requests',
  'tqdm',
  'typing-extensions',
  'urllib3',
];

/** The same app, the real one, with a small set of Python packages in the place of seven gigabytes. */
export interface SmallApp {
  readonly root: string;
  /** The lock of its packages. */
  readonly lock: string;
}

interface SmallAppOptions {
  /** Its lock. Default: the entries of the real one for what `hf download` needs. */
  lock?: string;
  /** What its venv must be able to run. */
  proof?: string;
  /** What it says its packages take. */
  installedBytes?: number;
}

/** Make it in a folder: a copy of the sources beside the checkout's own JavaScript packages. */
export async function makeSmallApp(root: string, options: SmallAppOptions = {}): Promise<SmallApp> {
  const files = ['bootstrap', 'package.json', 'package-lock.json', 'LICENSE', 'README.md'];
  for (const name of [...files, 'src', 'python/lotus_worker', 'sample']) {
    await cp(path.join(APP_ROOT, name), path.join(root, name), { recursive: true });
  }
  await symlink(path.join(APP_ROOT, 'node_modules'), path.join(root, 'node_modules'));
  const requirements = path.join(root, 'python', 'requirements');
  await mkdir(requirements, { recursive: true });
  const { proof = 'import huggingface_hub, yaml', installedBytes = 30e6 } = options;
  const profile = { installedBytes, serves: ['runtime'], proof };
  await writeFile(path.join(requirements, 'profiles.json'), JSON.stringify({ runtime: profile }));
  // `bootstrap` reads from them which uv and which Node.js it would get.
  for (const name of ['tool-uv.lock', 'tool-node.lock']) {
    await cp(path.join(APP_ROOT, 'python/requirements', name), path.join(requirements, name));
  }
  const lock = path.join(requirements, 'runtime.lock');
  await writeFile(lock, options.lock ?? (await smallLock()));
  return { root, lock };
}

/** The entries of the real lock for those packages: `name==version` with its hashes, on lines of their own. */
async function smallLock(): Promise<string> {
  const real = await readFile(path.join(APP_ROOT, 'python/requirements/runtime.lock'), 'utf8');
  const entries = real.split(/\n(?=[a-z0-9])/);
  const wanted = entries.filter((entry) => PACKAGES.includes(entry.split('==')[0] ?? ''));
  if (wanted.length !== PACKAGES.length) throw new Error('runtime.lock lacks some of the packages');
  return `${wanted.join('\n')}\n`;
}

interface RunOptions {
  /** In a process group of its own, which can be killed as a whole. */
  detached?: boolean;
  cwd?: string;
  /** What runs it, `unshare -n` say. */
  within?: readonly string[];
}

/** Run its command line. The packages come from the cache that `bootstrap` has filled, unless `env` says otherwise. */
export function runSmall(
  app: SmallApp,
  args: readonly string[],
  env: Record<string, string | undefined> = {},
  node: readonly string[] = [],
  { detached = false, cwd = app.root, within = [] }: RunOptions = {},
) {
  const main = path.join(app.root, 'src/cli/main.ts');
  const [program = '', ...rest] = [...within, process.execPath, ...node, main, ...args];
  return execa(program, rest, {
    reject: false,
    stdin: 'ignore',
    cwd,
    detached,
    env: {
      UV_CACHE_DIR: readConfig(process.env).uvCache,
      LOTUS_UPSTREAM_DIR: path.join(app.root, 'sample', 'upstream'),
      MODEL_ID: path.join(app.root, 'sample', 'checkpoint'),
      NO_COLOR: '1',
      ...env,
    },
  });
}

/** Prove flash-attn without torch, which a small app does not have: by its import alone. */
export async function proveByImport(root: string): Promise<void> {
  const proof = { works: true, compared: false, what: 'it imports' };
  const file = path.join(root, 'python', 'lotus_worker', 'flash_proof.py');
  await writeFile(file, `import flash_attn\nprint('${JSON.stringify(proof)}')\n`);
}
