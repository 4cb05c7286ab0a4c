import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { requireUv, runUv } from '../../src/provision/uv.ts';

/** A workspace, and a uv that hangs. */
async function hanging() {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'uv-test-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const uv = path.join(dir, 'uv');
  await writeFile(uv, '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 });
  return { uv, config: readConfig({ ...process.env, WORKSPACE: dir, LOTUS_UV: uv }) };
}

it('a uv that hangs when it is asked for its version is told of, and what to do', async () => {
  const { config } = await hanging();
  await expect(requireUv(config, undefined, 200)).rejects.toThrow(
    /^uv is needed .*: uv did not end within 0.2 s\. .*set LOTUS_UV to it/,
  );
});

it('a uv that hangs at its work is ended', async () => {
  const { uv, config } = await hanging();
  expect(await runUv(uv, ['sync'], { config, env: {}, timeout: 200 })).toMatchObject({
    failed: true,
    shortMessage: 'uv did not end within 0.2 s',
  });
});
