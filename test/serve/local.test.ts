import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { request } from 'undici';
import { describe, expect, it, onTestFinished } from 'vitest';
import { start, temporaryFolder } from '../cli/cli.ts';
import { API_KEY, goodInput, logLines, pythonsOf, said, terminate } from './rig.ts';

const ENV = { LOTUS_API_KEY: API_KEY };

describe('lotus-worker serve with a test job', () => {
  it('answers the one in test_input.json, on standard output, and exits with 0', async () => {
    const dir = await temporaryFolder();
    await writeFile(
      path.join(dir, 'test_input.json'),
      JSON.stringify({ input: await goodInput() }),
    );
    const { exitCode, stdout } = await start(['serve'], ENV, dir);
    expect(exitCode).toBe(0);
    const answer = JSON.parse(stdout);
    expect(answer).toMatchObject({
      model_id: 'sample',
      file_path: expect.stringMatching(/local_test\.png$/),
    });
  });

  it('answers the one of --test_input before that, and exits with 1 when it failed', async () => {
    const dir = await temporaryFolder();
    await writeFile(
      path.join(dir, 'test_input.json'),
      JSON.stringify({ input: await goodInput() }),
    );
    const job = JSON.stringify({ id: 'mine', input: { api_key: API_KEY } });
    const { exitCode, stdout, stderr } = await start(
      ['serve', '--no-warmup', '--test_input', job],
      ENV,
      dir,
    );
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ status: 400, code: 'no_image' });
    expect(logLines(stderr)).toContainEqual(
      expect.objectContaining({ job: 'mine', code: 'no_image' }),
    );
  });

  it.each([
    ['{"input":', 'is no JSON'],
    ['[]', 'is no job'],
    ['{"id":"x"}', 'is no job'],
    ['{"input":null}', 'is no job'],
  ])('refuses %s with exit code 2, and does not repeat it', async (text, why) => {
    const { exitCode, stderr } = await start(['serve', '--test_input', text], ENV);
    expect(exitCode).toBe(2);
    expect(stderr.trim()).toContain(why);
    expect(stderr).not.toContain(text);
  });
});

it('refuses a platform that it cannot work with, with exit code 2', async () => {
  const env = { ...ENV, RUNPOD_WEBHOOK_GET_JOB: 'http://127.0.0.1:1/job-take/$ID' };
  const { exitCode, stderr } = await start(['serve'], env);
  expect([exitCode, stderr]).toEqual([
    2,
    expect.stringContaining('RUNPOD_WEBHOOK_POST_OUTPUT is not set'),
  ]);
});

describe('lotus-worker serve, off the platform', () => {
  it('is the local API: says that it loads, then answers, and ends with 0 by SIGTERM', async () => {
    const child = start(
      ['serve', '--port', '0'],
      { ...ENV, LOTUS_LOG_LEVEL: 'info' },
      await temporaryFolder(),
    );
    onTestFinished(() => void child.kill('SIGKILL'));
    const [url = ''] =
      /http:\S+/.exec(await said(child.stdout, (text) => text.includes('\n'))) ?? [];
    expect((await request(`${url}/ping`)).statusCode).toBe(204);
    const answer = await request(`${url}/v2/any/runsync?wait=290000`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({ input: { ...(await goodInput()), api_key: undefined } }),
    });
    expect(await answer.body.json()).toMatchObject({
      status: 'COMPLETED',
      output: { model_id: 'sample', width: 640 },
    });
    expect((await request(`${url}/ping`)).statusCode).toBe(200);
    expect((await request(`${url}/health`)).statusCode).toBe(401);
    terminate(child);
    const { exitCode, stderr } = await child;
    expect(exitCode).toBe(0);
    const jobs = logLines(stderr).filter(({ msg }) => msg === 'job');
    expect(jobs).toMatchObject([{ outcome: 'completed', model: 'sample' }]);
  });

  it('counts in its metrics how often the model process was started again', async () => {
    const dir = await temporaryFolder();
    const child = start(['serve', '--no-warmup', '--port', '0'], ENV, dir);
    onTestFinished(() => void child.kill('SIGKILL'));
    const [url = ''] =
      /http:\S+/.exec(await said(child.stdout, (text) => text.includes('\n'))) ?? [];
    const headers = { authorization: `Bearer ${API_KEY}` };
    const body = JSON.stringify({ input: await goodInput() });
    const statusOfJob = async () => {
      const sent = await request(`${url}/runsync?wait=290000`, { method: 'POST', headers, body });
      return ((await sent.body.json()) as { status: string }).status;
    };
    const restarts = async () => {
      const text = await (await request(`${url}/metrics`, { headers })).body.text();
      return /^lotus_worker_model_restarts (\d+)$/m.exec(text)?.[1];
    };
    expect([await restarts(), await statusOfJob(), await restarts()]).toEqual([
      '0',
      'COMPLETED',
      '0',
    ]);
    const noticed = said(child.stderr, (text) => text.includes('killed by SIGKILL'));
    for (const pid of await pythonsOf(child.pid)) process.kill(pid, 'SIGKILL');
    await noticed;
    expect([await statusOfJob(), await restarts()]).toEqual(['COMPLETED', '1']);
  });

  it('does not start without a key', async () => {
    const { exitCode, stderr } = await start(['serve', '--http', '--port', '0'], {
      LOTUS_API_KEY: '',
    });
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining('LOTUS_API_KEY is not set')]);
  });

  it('says which address it cannot listen at', async () => {
    const { exitCode, stderr } = await start(
      ['serve', '--rp_serve_api', '--rp_api_host', '192.0.2.1', '--rp_api_port', '80'],
      ENV,
    );
    expect([exitCode, stderr]).toEqual([
      2,
      expect.stringContaining('cannot listen at 192.0.2.1:80'),
    ]);
  });

  it('ends though a file call hangs that never comes back, as on a dead volume', async () => {
    const dir = await temporaryFolder();
    const [pipe, hang] = [path.join(dir, 'pipe'), path.join(dir, 'hang.mjs')];
    await execa('mkfifo', [pipe]);
    await writeFile(
      hang,
      `import fs from 'node:fs'; fs.open(${JSON.stringify(pipe)}, 'r', () => {});`,
    );
    const child = start(['serve', '--http', '--port', '0', '--no-warmup'], {
      LOTUS_API_KEY: API_KEY,
      NODE_OPTIONS: `--import ${hang}`,
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    await said(child.stderr, (text) => text.includes('taking jobs'));
    terminate(child);
    const { signal, stderr } = await child;
    expect(signal).toBe('SIGKILL');
    expect(logLines(stderr).at(-1)?.msg).toContain('held up by file calls that hang');
  });

  it('ends with 1 when the model cannot be loaded', async () => {
    const env = {
      ...ENV,
      LOTUS_SAMPLE: '',
      MODEL_ID: '/no/such/model',
      LOTUS_UPSTREAM_DIR: '/tmp',
    };
    const { exitCode, stderr } = await start(['serve', '--http', '--port', '0'], env);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining('LOTUS_UPSTREAM_DIR')]);
  });
});
