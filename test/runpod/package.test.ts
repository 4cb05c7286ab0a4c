import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, expect, it } from 'vitest';
import { StandInPlatform } from './platform.ts';
import { job } from './rig.ts';

const ROOT = path.join(import.meta.dirname, '..', '..');
const CONSUMER = path.join(import.meta.dirname, '..', 'fixtures', 'runpod', 'consumer');
const BIN = path.join(ROOT, 'node_modules', '.bin');

const folders: string[] = [];
afterAll(async () => {
  await Promise.all(folders.map((folder) => rm(folder, { recursive: true })));
});

/** The package as npm would publish it, unpacked. It is built aside: the checkout's own `dist` may be in use. */
async function packed(scratch: string): Promise<string> {
  const source = path.join(scratch, 'source');
  await mkdir(source);
  await cp(path.join(ROOT, 'package.json'), path.join(source, 'package.json'));
  const build = ['-p', 'tsconfig.build.json', '--outDir', path.join(source, 'dist')];
  await execa(path.join(BIN, 'tsc'), build, { cwd: ROOT });
  const pack = ['pack', '--ignore-scripts', '--pack-destination', scratch];
  await execa(...npm(pack), { cwd: source });
  const tarball = (await readdir(scratch)).find((name) => name.endsWith('.tgz')) ?? '';
  await execa('tar', ['-xzf', tarball], { cwd: scratch });
  return path.join(scratch, 'package');
}

/** npm as it lies beside Node.js; the one in a wheel's `bin` is a copy that does not find the rest of it. */
function npm(args: string[]): [file: string, args: string[]] {
  const own = path.join(process.execPath, '../../lib/node_modules/npm/bin/npm-cli.js');
  return existsSync(own) ? [process.execPath, [own, ...args]] : ['npm', args];
}

it('is a library that another TypeScript project can be built with, and that runs from its package', async () => {
  const scratch = await mkdtemp(path.join(tmpdir(), 'package-'));
  folders.push(scratch);
  const project = path.join(scratch, 'consumer');
  await cp(CONSUMER, project, { recursive: true });
  const modules = path.join(project, 'node_modules');
  await mkdir(modules);
  await cp(await packed(scratch), path.join(modules, 'lotus-worker'), { recursive: true });
  for (const name of ['undici', 'zod', '@types', 'undici-types']) {
    await symlink(path.join(ROOT, 'node_modules', name), path.join(modules, name));
  }
  await execa(path.join(BIN, 'tsc'), [], { cwd: project });

  const platform = await StandInPlatform.start();
  try {
    platform.queue(job('a', 7));
    const main = path.join(project, 'out', 'main.js');
    const running = execa(process.execPath, [main], { env: platform.env() });
    await platform.until(() => platform.results('a').length === 1);
    await platform.until(() => platform.requestsTo('ping').length > 0); // its thread was found too
    running.kill('SIGTERM');
    expect(JSON.parse((await running).stdout)).toEqual({ reason: 'stopped', delivered: 1 });
    expect(platform.results('a')).toEqual([{ output: { id: 'a', echo: 7 } }]);
  } finally {
    await platform.close();
  }
});
