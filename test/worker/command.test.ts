import { describe, expect, it } from 'vitest';
import { PYTHON_ROOT } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { childEnvironment } from '../../src/environment.ts';
import { workerCommand } from '../../src/worker/command.ts';
import { NOWHERE } from './programs.ts';

const SECRETS = {
  LOTUS_API_KEY: 'planted-1',
  RUNPOD_AI_API_KEY: 'planted-2',
  BUCKET_ENDPOINT_URL: 'https://planted-3.example.com',
  BUCKET_ACCESS_KEY_ID: 'planted-3',
  BUCKET_SECRET_ACCESS_KEY: 'planted-3',
  AWS_SECRET_ACCESS_KEY: 'planted-4',
  PYTHONPATH: '/somebody/elses',
  PYTHONSTARTUP: '/somebody/elses/startup.py',
};

const HOME = { HOME: '/home/user', PATH: '/usr/bin', CUDA_VISIBLE_DEVICES: '1' };

const environmentOf = (env: Record<string, string>) =>
  workerCommand(readConfig(env), env, NOWHERE).env;

describe("the Python process's environment", () => {
  it('has none of our secrets and none of what changes how Python starts', () => {
    const env = { ...HOME, ...SECRETS, HF_TOKEN: 'planted-5', MODEL_ID: '/checkpoint' };
    const given = environmentOf(env);
    expect(JSON.stringify(given)).not.toContain('planted');
    expect(JSON.stringify(given)).not.toContain('somebody');
  });

  it('passes on what CUDA, certificates and proxies need', () => {
    const env = { ...HOME, HTTPS_PROXY: 'http://proxy', SSL_CERT_FILE: '/ca.pem' };
    expect(environmentOf(env)).toMatchObject({
      PATH: '/usr/bin',
      CUDA_VISIBLE_DEVICES: '1',
      HTTPS_PROXY: 'http://proxy',
      SSL_CERT_FILE: '/ca.pem',
    });
  });

  it('is offline: what the model needs is on disk', () => {
    expect(environmentOf(HOME)).toMatchObject({ HF_HUB_OFFLINE: '1' });
  });

  it("puts the hub's cache into the workspace", () => {
    const env = { ...HOME, WORKSPACE: '/workspace/Lotus' };
    expect(environmentOf(env)).toMatchObject({
      HF_HOME: '/workspace/Lotus/cache',
      HF_HUB_CACHE: '/workspace/Lotus/cache/hub',
    });
  });
});

describe('the command', () => {
  it("is the venv's Python with our package, and nothing from the folder it starts in", () => {
    const installation = { python: '/volume/venvs/one/bin/python', flashAttn: null };
    const { file, args, env } = workerCommand(readConfig(HOME), HOME, installation);
    expect(file).toBe('/volume/venvs/one/bin/python');
    expect(args).toEqual(['-P', '-m', 'lotus_worker']);
    expect(env.PYTHONPATH).toBe(PYTHON_ROOT);
  });

  it('finds flash-attn where it was installed, after our own package', () => {
    const installation = { python: '/python', flashAttn: '/volume/flash-attn/2.8.3' };
    const { env } = workerCommand(readConfig(HOME), HOME, installation);
    expect(env.PYTHONPATH).toBe(`${PYTHON_ROOT}:/volume/flash-attn/2.8.3`);
  });
});

describe('the environment of a download', () => {
  it('has no token unless it is given one', () => {
    const env = { ...HOME, ...SECRETS, HF_TOKEN: 'planted-5' };
    const given = childEnvironment(readConfig(env), env);
    expect(JSON.stringify(given)).not.toContain('planted');
    expect(given).not.toHaveProperty('HF_HUB_OFFLINE');
  });
});
