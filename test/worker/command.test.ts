import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { workerCommand, workerEnvironment } from '../../src/worker/command.ts';

const SECRETS = {
  LOTUS_API_KEY: 'planted-1',
  RUNPOD_AI_API_KEY: 'planted-2',
  BUCKET_SECRET_ACCESS_KEY: 'planted-3',
  AWS_SECRET_ACCESS_KEY: 'planted-4',
  PYTHONPATH: '/somebody/elses',
  PYTHONSTARTUP: '/somebody/elses/startup.py',
};

const HOME = { HOME: '/home/user', PATH: '/usr/bin', CUDA_VISIBLE_DEVICES: '1' };

describe("the Python process's environment", () => {
  it('has none of our secrets and none of what changes how Python starts', () => {
    const env = { ...HOME, ...SECRETS, HF_TOKEN: 'planted-5', MODEL_ID: '/checkpoint' };
    const given = workerEnvironment(readConfig(env), env);
    expect(JSON.stringify(given)).not.toContain('planted');
    expect(JSON.stringify(given)).not.toContain('somebody');
  });

  it('passes on what CUDA, certificates and proxies need', () => {
    const env = { ...HOME, HTTPS_PROXY: 'http://proxy', SSL_CERT_FILE: '/ca.pem' };
    expect(workerEnvironment(readConfig(env), env)).toMatchObject({
      PATH: '/usr/bin',
      CUDA_VISIBLE_DEVICES: '1',
      HTTPS_PROXY: 'http://proxy',
      SSL_CERT_FILE: '/ca.pem',
    });
  });

  it('keeps the hub offline when the model is a folder', () => {
    const env = { ...HOME, MODEL_ID: '/checkpoint' };
    expect(workerEnvironment(readConfig(env), env)).toMatchObject({ HF_HUB_OFFLINE: '1' });
  });

  it("lets it on the hub with the hub's own token when the model comes from there", () => {
    const env = { ...HOME, HF_TOKEN: 'hub-token' };
    const given = workerEnvironment(readConfig(env), env);
    expect(given).toMatchObject({ HF_TOKEN: 'hub-token' });
    expect(given).not.toHaveProperty('HF_HUB_OFFLINE');
  });

  it("puts the hub's cache into the workspace", () => {
    const env = { ...HOME, WORKSPACE: '/workspace/Lotus' };
    expect(workerEnvironment(readConfig(env), env)).toMatchObject({
      HF_HOME: '/workspace/Lotus/cache',
      HF_HUB_CACHE: '/workspace/Lotus/cache/hub',
    });
  });
});

describe('the command', () => {
  it("is the workspace's Python with our package, and nothing from the folder it starts in", () => {
    const env = { ...HOME, WORKSPACE: '/workspace/Lotus' };
    const { file, args } = workerCommand(readConfig(env), env);
    expect(file).toBe('/workspace/Lotus/venv/bin/python');
    expect(args).toEqual(['-P', '-m', 'lotus_worker']);
  });
});
