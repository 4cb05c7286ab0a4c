import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { VERSION } from '../../src/app.ts';
import { APP, makeLayout } from './layout.ts';
import { inRoot, whyNoRoot } from './root.ts';

let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'layout-test-'));
  await makeLayout(path.join(dir, 'app'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));
beforeEach(({ skip }) => {
  const why = whyNoRoot();
  skip(why !== null, why ?? '');
});

function run(program: string, ...args: string[]) {
  return inRoot([program, ...args], {
    binds: [{ source: path.join(dir, 'app'), target: APP, readonly: true }],
    tmpfs: [{ target: '/workspace', sizeMb: 1 }],
    env: { PATH: `${APP}/bin:/usr/sbin:/usr/bin:/sbin:/bin`, HOME: '/root' },
  });
}

describe("the image's app", () => {
  it('runs where it cannot be written', async () => {
    const { stdout, exitCode } = await run(`${APP}/docker/entrypoint`, '--version');
    expect({ stdout, exitCode }).toEqual({ stdout: VERSION, exitCode: 0 });
  });

  it('runs by ./bootstrap, which finds all that it needs', async () => {
    const { stdout, stderr, exitCode } = await run(`${APP}/bootstrap`, '--version');
    expect({ stdout, stderr, exitCode }).toEqual({ stdout: VERSION, stderr: '', exitCode: 0 });
  });

  it('has all packages that it imports', async () => {
    const importAll = `
      const { readdirSync } = await import('node:fs');
      const files = readdirSync('${APP}/dist', { recursive: true });
      const modules = files.filter((file) => file.endsWith('.js') && file !== 'cli/main.js');
      for (const file of modules) await import('${APP}/dist/' + file);
      console.log(modules.length > 30);
    `;
    const { stdout, stderr } = await run('node', '--input-type=module', '--eval', importAll);
    expect({ stdout, stderr }).toEqual({ stdout: 'true', stderr: '' });
  });
});
