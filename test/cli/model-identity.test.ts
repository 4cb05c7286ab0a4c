import { cp, mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SAMPLE_ROOT } from '../../src/app.ts';
import { identifyModel } from '../../src/cli/model-identity.ts';
import { type Environment, readConfig } from '../../src/config.ts';

let dir = '';

beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'model-identity-test-'));
});

afterEach(() => rm(dir, { recursive: true, force: true }));

const identify = async (env: Environment) => {
  const set = { WORKSPACE: path.join(dir, 'Lotus'), LOTUS_ALLOW_EPHEMERAL: '1', ...env };
  return await identifyModel(readConfig(set, []), set);
};

describe('which model would run', () => {
  it('is for a folder what lies in it, wherever that is', async () => {
    const folder = path.join(dir, 'checkpoint');
    await cp(path.join(SAMPLE_ROOT, 'checkpoint'), folder, { recursive: true });
    const before = await identify({ MODEL_ID: folder });
    expect(before).toMatchObject({ id: 'checkpoint', prediction: 'disparity' });
    expect(await identify({ MODEL_ID: folder })).toEqual(before);
    const moved = path.join(dir, 'elsewhere', 'checkpoint');
    await cp(folder, moved, { recursive: true, preserveTimestamps: true });
    expect(await identify({ MODEL_ID: moved })).toEqual(before);
    await utimes(path.join(folder, 'unet', 'config.json'), 1, 1);
    const after = await identify({ MODEL_ID: folder });
    expect(after?.revision).not.toBe(before?.revision);
  });

  it('is for one from the hub the commit that is here', async () => {
    const env = { MODEL_ID: 'org/model', LOTUS_MODEL_PREDICTION: 'depth' };
    expect(await identify(env)).toBeNull();
    const manifests = path.join(dir, 'Lotus', 'models');
    await mkdir(manifests, { recursive: true });
    const manifest = { model: 'org/model', requested: 'main', revision: 'abc123', files: [] };
    await writeFile(path.join(manifests, 'org--model@main.json'), JSON.stringify(manifest));
    const identity = await identify(env);
    expect(identity).toMatchObject({ id: 'org/model', revision: 'abc123', prediction: 'depth' });
    expect(await identify({ ...env, MODEL_REVISION: 'other' })).toBeNull();
  });

  it('is not known where there is no checkpoint in the folder that is named', async () => {
    expect(await identify({ MODEL_ID: path.join(dir, 'nothing') })).toBeNull();
  });

  it('is another one with another type of numbers', async () => {
    const sample = { LOTUS_SAMPLE: '1' };
    const plain = await identify(sample);
    const float32 = await identify({ ...sample, LOTUS_DTYPE: 'float32' });
    expect(float32).toEqual({ ...plain, dtype: 'float32' });
    expect(plain?.dtype).toBe('auto');
  });
});
