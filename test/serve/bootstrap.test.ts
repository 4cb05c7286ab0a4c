import { mkdir, mkdtemp, readdir, readlink, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { start, temporaryFolder } from '../cli/cli.ts';
import { goodInput, logLines, said, startWorker, terminate } from './rig.ts';

/** A workspace with the packages of the tests' own, so that nothing is installed. */
let workspace = '';
beforeAll(async () => {
  workspace = path.join(await mkdtemp(path.join(os.tmpdir(), 'serve-test-')), 'Lotus');
  const ours = readConfig(process.env).workspace;
  const venv = path.basename(await readlink(path.join(ours, 'venv'))).split('@')[0] ?? '';
  await mkdir(path.join(workspace, 'venvs'), { recursive: true });
  await execa('cp', [
    '-a',
    '--link',
    path.join(ours, 'venvs', venv),
    path.join(workspace, 'venvs'),
  ]);
});
afterAll(() => rm(path.dirname(workspace), { recursive: true, force: true }));

describe('lotus-worker bootstrap --serve', () => {
  it('makes the volume ready, loads the model once, and takes jobs with that', async () => {
    const { platform, results, end } = await startWorker({ WORKSPACE: workspace }, [
      'bootstrap',
      '--serve',
    ]);
    platform.queue({ id: 'first', input: await goodInput() });
    expect(await results('first')).toMatchObject([
      { output: { model_id: 'sample', warnings: [] } },
    ]);
    const { exitCode, lines } = await end();
    expect(exitCode).toBe(0);
    const said = lines.map(({ msg, step, state }) =>
      step && state ? `${step} ${state}` : String(msg),
    );
    const story =
      /^(volume|release) made$|^the model process has started$|^warmed up$|^taking jobs$/;
    expect(said.filter((line) => story.test(line))).toEqual([
      'volume made',
      'release made',
      'the model process has started',
      'warmed up',
      'taking jobs',
    ]);
    expect(await readdir(path.join(workspace, 'output_images'))).toEqual(['first.png']);
  });

  it('on a plain pod serves the local API, and also without a key, to let nobody in', async () => {
    const env = {
      WORKSPACE: workspace,
      LOTUS_ALLOW_EPHEMERAL: '1',
      RUNPOD_POD_ID: 'pod',
      LOTUS_API_KEY: '',
    };
    const child = start(['bootstrap', '--serve'], env, await temporaryFolder());
    onTestFinished(() => void child.kill('SIGKILL'));
    const [url = ''] =
      /http:\S+/.exec(await said(child.stdout, (text) => text.includes('\n'))) ?? [];
    const answer = await request(`${url}/runsync`, {
      method: 'POST',
      headers: { authorization: 'Bearer ', 'content-type': 'application/json' },
      body: JSON.stringify({ input: await goodInput({ api_key: '' }) }),
    });
    expect([answer.statusCode, await answer.body.json()]).toMatchObject([
      401,
      { error: 'Unauthorized' },
    ]);
    terminate(child);
    const { exitCode, stderr } = await child;
    expect(exitCode).toBe(0);
    expect(logLines(stderr)).toContainEqual(
      expect.objectContaining({ msg: expect.stringContaining('LOTUS_API_KEY is not set') }),
    );
  });
});
