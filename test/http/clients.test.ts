import { globSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import runpodSdk from 'runpod-sdk';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { uvEnvironment } from '../../src/provision/uv.ts';
import { policyOf } from '../net/stage.ts';
import { type Api, KEY, serveApi } from './api.ts';

/** RunPod's own client libraries, as their users have them. `docs/api.md` says what these tests see. */

const ECHO = { do: 'echo', text: 'hello' };
const OUTPUT = { input: ECHO, timings_ms: { unet: 12, total: 20 } };
const FAILURE = 'There is no image: send image_base64 or image_url.';
const REFUSED = { input: ECHO, webhook: 'http://127.0.0.1/' };
const HEALTH = {
  jobs: expect.objectContaining({ inQueue: 0, retried: 0 }),
  workers: { idle: 2, initializing: 0, ready: 2, running: 0, throttled: 0 },
};

const serve = () => serveApi({ webhooks: { policy: policyOf() }, limits: { concurrency: 2 } });

describe('runpod-sdk for JavaScript', () => {
  const endpointOf = (api: Api, key = KEY) => {
    const endpoint = runpodSdk(key, { baseUrl: `${api.url}/v2` }).endpoint('my-endpoint');
    if (!endpoint) throw new Error('there is no endpoint');
    return endpoint;
  };

  it('shows a success', async () => {
    const endpoint = endpointOf(await serve());
    const times = { delayTime: expect.any(Number), executionTime: expect.any(Number) };
    const done = { id: expect.any(String), status: 'COMPLETED', output: OUTPUT, ...times };
    const flags = { started: true, completed: true, succeeded: true };
    expect(await endpoint.runSync({ input: ECHO })).toEqual({ ...done, ...flags });
    const { id } = await endpoint.run({ input: ECHO });
    expect(await endpoint.statusSync(id)).toEqual({ ...done, id, ...flags });
    expect(await endpoint.status(id)).toEqual({ ...done, id, ...flags });
  });

  it('shows the text and the code of a job that failed', async () => {
    const endpoint = endpointOf(await serve());
    expect(await endpoint.runSync({ input: { do: 'fail' } })).toMatchObject({
      status: 'FAILED',
      error: FAILURE,
      output: { status: 400, code: 'no_image' },
      completed: true,
      succeeded: false,
    });
  });

  it('throws the status for a 401 and for a request that is wrong', async () => {
    const api = await serve();
    const failure = (status: number) => ({
      message: `Request failed with status code ${status}`,
      response: { status, data: { error: expect.any(String), status } },
    });
    await expect(endpointOf(api, 'wrong').run({ input: ECHO })).rejects.toMatchObject(failure(401));
    await expect(endpointOf(api).run(REFUSED)).rejects.toMatchObject(failure(400));
    await expect(endpointOf(api).status('unknown')).rejects.toMatchObject(failure(404));
  });

  it('cancels, streams, and asks for the health', async () => {
    const endpoint = endpointOf(await serve());
    const { id } = await endpoint.run({ input: { do: 'wait' } });
    expect(await endpoint.cancel(id)).toMatchObject({ id, status: 'CANCELLED' });
    const { id: reporting } = await endpoint.run({ input: { do: 'report' } });
    const chunks: unknown[] = [];
    for await (const chunk of endpoint.stream(reporting)) chunks.push(chunk);
    expect(chunks).toEqual([{ step: 1 }, { step: 2 }, { steps: 2 }].map((output) => ({ output })));
    expect(await endpoint.health()).toEqual(HEALTH);
    expect(await endpoint.purgeQueue()).toEqual({ removed: 0, status: 'completed' });
  });
});

describe('runpod for Python', () => {
  const config = readConfig(process.env);
  const script = path.join(import.meta.dirname, '..', 'fixtures', 'clients', 'runpod_client.py');

  /** `bootstrap` names it, and leaves it there. */
  const [bootstrapped = 'uv'] = globSync(path.join(config.workspace, 'tools', 'uv-*', 'bin', 'uv'));
  const uv = config.uv ?? bootstrapped;

  /** With the package from its registry, in an environment that uv makes and keeps in its cache. */
  async function seen(api: Api): Promise<Record<string, unknown>> {
    const python = path.join(config.workspace, 'venv', 'bin', 'python');
    const made = ['--isolated', '--no-project', '--python', python, '--with', 'runpod==1.12.0'];
    const args = ['run', ...made, 'python', script, KEY, 'wrong'];
    const env = { ...uvEnvironment(config), RUNPOD_ENDPOINT_BASE_URL: `${api.url}/v2` };
    const { stdout } = await execa(uv, args, { env });
    return JSON.parse(stdout.split('\n').at(-1) ?? '');
  }

  it('shows this', async () => {
    expect(await seen(await serve())).toEqual({
      success: OUTPUT,
      queued: { status: 'COMPLETED', output: OUTPUT },
      failure: { status: 400, code: 'no_image' },
      'queued failure': { status: 'FAILED', output: { status: 400, code: 'no_image' } },
      'key in the input': { ...OUTPUT, input: { ...ECHO, api_key: KEY } },
      401: {
        raises: 'RuntimeError',
        text: '401 Unauthorized | Make sure Runpod API key is set and valid.',
      },
      400: {
        raises: 'HTTPError',
        text: expect.stringMatching(
          /^400 Client Error: Bad Request for url: .*\/my-endpoint\/run$/,
        ),
      },
      cancel: { answer: 'CANCELLED', status: 'CANCELLED' },
      stream: [{ step: 1 }, { step: 2 }, { steps: 2 }],
      health: HEALTH,
      purge: { removed: 0, status: 'completed' },
    });
  });
});
