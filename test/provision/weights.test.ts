import { randomBytes } from 'node:crypto';
import {
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  truncate,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { APP_ROOT } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { LotusError, messageOf } from '../../src/errors.ts';
import type { Patience } from '../../src/provision/hub.ts';
import { provision } from '../../src/provision/provision.ts';
import { checkSteps, makeSteps, ready, type Step } from '../../src/provision/step.ts';
import { weightsStep } from '../../src/provision/weights.ts';
import { type Fault, type Hub, startHub } from '../fixtures/hub.ts';

/** The real client of the real venv, and a hub on the loopback. */
const CHECKPOINT = path.join(APP_ROOT, 'sample', 'checkpoint');
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const OTHER_COMMIT = '89abcdef0123456789abcdef0123456789abcdef';
const UNET = 'unet/diffusion_pytorch_model.safetensors';

/** hf keeps what it has in steps of 10 MiB, so less would not show. */
const LARGE = { 'unet/padding.safetensors': randomBytes(25_000_000) };

let python = '';
beforeAll(async () => {
  const config = readConfig(process.env);
  const steps = ['interpreter', 'venv'] as const;
  python = (await provision({ config, env: process.env, steps, observer: {} })).made.python;
});

async function temporaryFolder(): Promise<string> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'weights-test-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function hubOf(...faults: Fault[]): Promise<Hub> {
  const lotus = { folder: CHECKPOINT, revision: COMMIT, refs: ['main', 'v2'] };
  const hub = await startHub({
    models: {
      'org/lotus': { ...lotus, files: { 'unet/model.bin': 'a pickle', 'run.py': 'a program' } },
      'org/large': { ...lotus, files: LARGE },
      'org/gated': { ...lotus, gated: ['hf_member'] },
      'org/none': { folder: await temporaryFolder(), files: { 'a.json': '{}' }, revision: COMMIT },
    },
    tokens: ['hf_stranger'],
    faults,
  });
  onTestFinished(() => hub.close());
  return hub;
}

interface Wanted {
  hub: Hub | { url: string };
  workspace: string;
  env?: Record<string, string>;
  update?: boolean;
  patience?: Patience;
  signal?: AbortSignal;
}

function stepsOf({ hub, workspace, env = {}, update = false, patience, signal }: Wanted): Step[] {
  const settings = {
    MODEL_ID: 'org/lotus',
    PATH: process.env.PATH,
    HF_ENDPOINT: hub.url,
    NO_PROXY: '*',
    WORKSPACE: workspace,
    ...env,
  };
  const venv: Step = {
    name: 'venv',
    check: async () => ready('the real one', { python }),
    make: async () => expect.unreachable('it is there'),
  };
  return [
    venv,
    weightsStep({
      config: readConfig(settings),
      env: settings,
      update,
      signal,
      ...(patience && { patience }),
    }),
  ];
}

const lines: string[] = [];
async function provide(wanted: Wanted) {
  lines.length = 0;
  const { outcomes, made } = await makeSteps(stepsOf(wanted), {
    said: (_name, line) => lines.push(line),
  });
  return { state: outcomes[1]?.state, ...made.checkpoint };
}

async function refusal(wanted: Wanted): Promise<LotusError> {
  const error = await provide(wanted).catch((reason) => reason);
  expect(error).toBeInstanceOf(LotusError);
  expect(error.code).toBe('model_unavailable');
  return error;
}

const gets = (hub: Hub) => hub.requests.filter(({ method, file }) => method === 'GET' && file);

describe('the weights step', () => {
  it('downloads safetensors, JSON and text, and nothing that could run', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const { state, folder, revision } = await provide({ hub, workspace });
    expect({ state, revision }).toEqual({ state: 'made', revision: COMMIT });
    const asked = new Set(gets(hub).map(({ file }) => path.extname(file ?? '')));
    expect(asked).toEqual(new Set(['.safetensors', '.json', '.txt']));
    expect(await readFile(path.join(folder ?? '', UNET))).toEqual(
      await readFile(path.join(CHECKPOINT, UNET)),
    );
  });

  it('asks the hub nothing when it is there, and gives the same revision', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const first = await provide({ hub, workspace });
    const asked = hub.requests.length;
    expect(await provide({ hub, workspace })).toEqual({ ...first, state: 'ready' });
    expect(hub.requests.length).toBe(asked);
  });

  it('keeps to the revision it has when the branch moves, until it is asked to update', async () => {
    const workspace = await temporaryFolder();
    await provide({ hub: await hubOf(), workspace });
    const moved = await startHub({
      models: { 'org/lotus': { folder: CHECKPOINT, revision: OTHER_COMMIT } },
    });
    onTestFinished(() => moved.close());
    expect((await provide({ hub: moved, workspace })).revision).toBe(COMMIT);
    expect((await provide({ hub: moved, workspace, update: true })).revision).toBe(OTHER_COMMIT);
    expect((await provide({ hub: moved, workspace })).revision).toBe(OTHER_COMMIT);
  });

  it('keeps the revisions that were asked for by name apart', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    await provide({ hub, workspace, env: { MODEL_REVISION: 'v2' } });
    expect((await provide({ hub, workspace })).state).toBe('made');
    expect((await readdir(path.join(workspace, 'models'))).toSorted()).toEqual([
      'org--lotus@main.json',
      'org--lotus@v2.json',
    ]);
  });

  it('is there after the whole workspace has moved', async () => {
    const [hub, dir] = [await hubOf(), await temporaryFolder()];
    await provide({ hub, workspace: path.join(dir, 'one') });
    await rename(path.join(dir, 'one'), path.join(dir, 'two'));
    const { state, folder } = await provide({ hub, workspace: path.join(dir, 'two') });
    expect(state).toBe('ready');
    expect(await realpath(path.join(folder ?? '', UNET))).toContain(path.join(dir, 'two'));
  });

  it('downloads again what was cut, removed or replaced', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const { folder = '' } = await provide({ hub, workspace });
    await truncate(await realpath(path.join(folder, UNET)), 100);
    expect((await provide({ hub, workspace })).state).toBe('made');
    await rm(await realpath(path.join(folder, 'tokenizer', 'merges.txt')));
    expect((await provide({ hub, workspace })).state).toBe('made');
    expect(
      (await readFile(path.join(folder, UNET))).equals(await readFile(path.join(CHECKPOINT, UNET))),
    ).toBe(true);
  });

  it('asks the hub again when what it noted is damaged', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const first = await provide({ hub, workspace });
    await writeFile(path.join(workspace, 'models', 'org--lotus@main.json'), '');
    expect(await provide({ hub, workspace })).toEqual(first);
  });

  it('goes on from where a connection was dropped', async () => {
    const hub = await hubOf({
      at: 'unet/padding.safetensors',
      times: 1,
      kind: 'drop',
      after: 12_000_000,
    });
    const workspace = await temporaryFolder();
    const { state } = await provide({ hub, workspace, env: { MODEL_ID: 'org/large' } });
    expect(state).toBe('made');
    expect(lines.join('\n')).toContain('it broke off');
    const ranges = gets(hub).map(({ range }) => range);
    expect(ranges).toContain('bytes=10485760-');
  });

  it('goes on as long as each try brings something', async () => {
    const hub = await hubOf({ at: 'unet/padding.safetensors', kind: 'drop', after: 11_000_000 });
    const workspace = await temporaryFolder();
    const { state } = await provide({ hub, workspace, env: { MODEL_ID: 'org/large' } });
    expect(state).toBe('made');
  });

  it('does not believe a file whose content is not what the hub promised', async () => {
    const hub = await hubOf({ at: UNET, times: 1, kind: 'corrupt', byte: 5000 });
    const workspace = await temporaryFolder();
    const { state, folder = '' } = await provide({ hub, workspace });
    expect(state).toBe('made');
    expect(lines.join('\n')).toContain(`${UNET} was damaged on its way`);
    expect(
      (await readFile(path.join(folder, UNET))).equals(await readFile(path.join(CHECKPOINT, UNET))),
    ).toBe(true);
  });

  it('gives up on a file that is damaged every time, and leaves it nowhere', async () => {
    const hub = await hubOf({ at: UNET, kind: 'corrupt', byte: 5000 });
    const workspace = await temporaryFolder();
    expect((await refusal({ hub, workspace })).message).toContain('was damaged on its way');
    const { checked } = await checkSteps(stepsOf({ hub, workspace }));
    expect(checked[1]?.found.state).toBe('missing');
  });

  it('does not take part of a checkpoint for all of it when the hub is gone', async () => {
    const hub = await hubOf({ at: UNET, kind: 'status', status: 404, code: 'EntryNotFound' });
    const workspace = await temporaryFolder();
    await refusal({ hub, workspace });
    await hub.close();
    expect((await refusal({ hub, workspace })).message).toContain('the hub cannot be reached');
  });

  it.each([
    ['org/missing', {}, 'the hub has no model of that name, or it is private. Check MODEL_ID'],
    ['org/gated', {}, 'it is gated. Ask for access'],
    ['org/gated', { HF_TOKEN: 'hf_stranger' }, 'it is gated. Ask for access'],
    ['org/lotus', { HF_TOKEN: 'hf_nobody' }, 'the hub does not take the token'],
    ['org/lotus', { MODEL_REVISION: 'v9' }, 'Set MODEL_REVISION to a branch'],
    ['a/b/c', {}, 'that is no name on the hub'],
    ['org/none', {}, 'it is no checkpoint: it has no model_index.json'],
  ])('says what to do about %s %j', async (id, env, advice) => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const { message } = await refusal({ hub, workspace, env: { MODEL_ID: id, ...env } });
    expect(message).toContain(`Cannot download ${id}`);
    expect(message).toContain(advice);
  });

  it('opens a gated model with its token, which no file of ours holds', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const env = { MODEL_ID: 'org/gated', HF_TOKEN: 'hf_member' };
    expect((await provide({ hub, workspace, env })).state).toBe('made');
    const names = await readdir(workspace, { recursive: true, withFileTypes: true });
    const files = names.filter((entry) => entry.isFile());
    for (const { parentPath, name } of files) {
      expect((await readFile(path.join(parentPath, name))).includes('hf_member')).toBe(false);
    }
    expect(files.length).toBeGreaterThan(5);
  });

  it('says what to do when the hub cannot be reached, and shows no token', async () => {
    const hub = { url: 'http://127.0.0.1:9' }; // the discard port: nobody answers
    const error = await refusal({
      hub,
      workspace: await temporaryFolder(),
      env: { HF_TOKEN: 'hf_planted' },
    });
    expect(error.message).toContain('the hub cannot be reached. Check the network');
    expect(`${error.message} ${messageOf(error.cause)}`).not.toContain('hf_planted');
  });

  it('gives up on a hub that never answers', async () => {
    const hub = await hubOf({ at: 'api', kind: 'hang' });
    const patience = { look: 100, stall: 1500 };
    const error = await refusal({ hub, workspace: await temporaryFolder(), patience });
    expect(error.message).toContain('nothing came for 1.5 s');
    expect(hub.requests.length).toBe(3);
  });

  it('ends the client when it is interrupted', async () => {
    const hub = await hubOf({ at: UNET, kind: 'hang' });
    const controller = new AbortController();
    const wanted = { hub, workspace: await temporaryFolder(), signal: controller.signal };
    const downloading = provide(wanted).catch((reason) => reason);
    await expect.poll(() => gets(hub).length, { timeout: 30_000 }).toBeGreaterThan(0);
    controller.abort();
    expect(await downloading).toMatchObject({ code: 'cancelled' });
  });

  it('uses what a killed download left although it is longer than the file', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const { folder = '' } = await provide({ hub, workspace });
    const blob = await realpath(path.join(folder, UNET));
    await rename(blob, `${blob}.incomplete`);
    await writeFile(`${blob}.incomplete`, Buffer.alloc(30_000_000));
    expect((await provide({ hub, workspace })).state).toBe('made');
  });

  it("takes the operator's own folder as it is, and says what it lacks", async () => {
    const [dir, hub] = [await temporaryFolder(), { url: '' }];
    const own = path.join(dir, 'own');
    await cp(CHECKPOINT, own, { recursive: true });
    const wanted = { hub, workspace: path.join(dir, 'workspace'), env: { MODEL_ID: own } };
    expect(await provide(wanted)).toMatchObject({ state: 'ready', folder: own, revision: null });
    await rm(path.join(own, 'tokenizer', 'merges.txt'));
    expect((await refusal(wanted)).message).toContain('it has no tokenizer/merges.txt');
    await mkdir(path.join(dir, 'empty'));
    const empty = { ...wanted, env: { MODEL_ID: path.join(dir, 'empty') } };
    expect((await refusal(empty)).message).toContain('it has no model_index.json');
  });
});
