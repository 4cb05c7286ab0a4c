import { cp, mkdir, readFile, realpath, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { APP_ROOT } from '../../src/app.ts';

/** Where the image has the app. */
export const APP = '/opt/lotus-worker';

/** What the image has from the checkout as it is. A test holds this against the Dockerfile. */
export const COPIED = [
  'LICENSE',
  'README.md',
  'bootstrap',
  'docker/entrypoint',
  'package-lock.json',
  'package.json',
  'python/lotus_worker',
  'python/requirements',
  'sample',
];

/** What its build makes. */
export const MADE = ['bin', 'dist', 'node_modules'];

/**
 * Put what the image has in {@link APP} together in a folder. Takes no network: the packages are this checkout's,
 * Node.js and uv those of the tests.
 */
export async function makeLayout(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  await Promise.all([copyFiles(dir), copyTools(dir), copyPackages(dir), compile(dir)]);
}

/** What git knows or would: no byte code, which .dockerignore keeps out of the image. */
async function copyFiles(dir: string): Promise<void> {
  const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', ...COPIED];
  const { stdout } = await execa('git', list, { cwd: APP_ROOT });
  for (const file of new Set(stdout.split('\0').filter(Boolean))) {
    await cp(path.join(APP_ROOT, file), path.join(dir, file));
  }
}

async function copyTools(dir: string): Promise<void> {
  const uv = process.env.LOTUS_UV || (await execa('which', ['uv'])).stdout;
  await cp(process.execPath, path.join(dir, 'bin', 'node'));
  await cp(await realpath(uv), path.join(dir, 'bin', 'uv'));
}

interface Lock {
  packages: Record<string, { dev?: boolean; optional?: boolean }>;
}

/** As `npm ci --omit=dev`, with the stamp by which `bootstrap` knows that. */
async function copyPackages(dir: string): Promise<void> {
  const lock: Lock = JSON.parse(await readFile(path.join(APP_ROOT, 'package-lock.json'), 'utf8'));
  const packages = Object.entries(lock.packages).filter(([at, { dev }]) => at !== '' && !dev);
  for (const [at, { optional }] of packages) {
    const source = path.join(APP_ROOT, at);
    const copied = cp(source, path.join(dir, at), {
      recursive: true,
      // Packages within packages have entries of their own, some of which are for development.
      filter: (file) => !path.relative(source, file).split(path.sep).includes('node_modules'),
    });
    // One that is for other systems is not here.
    await copied.catch((error) => {
      if (!optional || error.code !== 'ENOENT') throw error;
    });
  }
  const sum = await execa('cksum', { inputFile: path.join(APP_ROOT, 'package-lock.json') });
  const stamp = `${sum.stdout.trim().replaceAll(' ', '-')} prod\n`;
  await writeFile(path.join(dir, 'node_modules', '.lotus-worker'), stamp);
}

async function compile(dir: string): Promise<void> {
  const tsc = path.join(APP_ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const options = ['-p', 'tsconfig.build.json', '--outDir', path.join(dir, 'dist')];
  await execa(process.execPath, [tsc, ...options], { cwd: APP_ROOT });
}
