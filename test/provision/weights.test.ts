import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { APP_ROOT } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { LotusError, messageOf } from '../../src/errors.ts';
import { listFiles, type Patience } from '../../src/provision/hub-client.ts';
import { provision } from '../../src/provision/provision.ts';
import { checkSteps, makeSteps, ready, type Step } from '../../src/provision/step.ts';
import { weightsStep } from '../../src/provision/weights.ts';
import { type Fault, type Hub, startHub } from '../fixtures/hub.ts';

/** The real client of the real venv, and a hub on the loopback. */
const CHECKPOINT = path.join(APP_ROOT, 'sample', 'checkpoint');
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const OTHER_COMMIT = '89abcdef0123456789abcdef0123456789abcdef';
const SMALL = 'tokenizer/tokenizer_config.json';
const LARGE_FILE = 'unet/padding.safetensors';
const UNET = 'unet/diffusion_pytorch_model.safetensors';

/** hf keeps what it has in steps of 10 MiB, so less would not show. */
const LARGE = { [LARGE_FILE]: randomBytes(25_000_000) };

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
  /** RunPod's cached models. */
  runpodCache?: string;
  /** Hears every line that the step says. */
  hear?: (line: string) => void;
}

function stepsOf(wanted: Wanted): Step[] {
  const { hub, workspace, env = {}, update = false, patience = QUICK, signal } = wanted;
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
      patience,
      ...(wanted.runpodCache && { runpodCache: wanted.runpodCache }),
    }),
  ];
}

const QUICK: Patience = { look: 100, stall: 30_000, pause: 20 };

const lines: string[] = [];
async function provide(wanted: Wanted) {
  lines.length = 0;
  const { outcomes, made } = await makeSteps(stepsOf(wanted), {
    said: (_name, line) => {
      lines.push(line);
      wanted.hear?.(line);
    },
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

  it.each(['a file', 'a folder'])(
    'takes no link of %s that leads out of the cache, and leaves alone what is there',
    async (what) => {
      const [hub, workspace] = [await hubOf(), await temporaryFolder()];
      const { folder = '' } = await provide({ hub, workspace });
      const elsewhere = path.join(await temporaryFolder(), 'unet');
      await cp(path.join(CHECKPOINT, 'unet'), elsewhere, { recursive: true });
      await writeFile(path.join(elsewhere, path.basename(UNET)), 'precious');
      const planted = path.join(folder, what === 'a file' ? UNET : 'unet');
      await rm(planted, { recursive: true });
      await symlink(
        what === 'a file' ? path.join(elsewhere, path.basename(UNET)) : elsewhere,
        planted,
      );
      const { message } = await refusal({ hub, workspace });
      expect(message).toContain(`${planted} leads to ${await realpath(planted)}, out of the cache`);
      expect(await readFile(path.join(elsewhere, path.basename(UNET)), 'utf8')).toBe('precious');
    },
  );

  it('takes no link to a whole file out of the cache either', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const { folder = '' } = await provide({ hub, workspace });
    await rm(path.join(folder, UNET));
    await symlink(path.join(CHECKPOINT, UNET), path.join(folder, UNET));
    expect((await refusal({ hub, workspace })).message).toContain('out of the cache');
  });

  it('downloads to no folder that a link in the cache leads to', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const elsewhere = await temporaryFolder();
    const hubCache = path.join(workspace, 'cache', 'hub');
    await mkdir(hubCache, { recursive: true });
    await symlink(elsewhere, path.join(hubCache, 'models--org--lotus'));
    expect((await refusal({ hub, workspace })).message).toContain(`leads to ${elsewhere}`);
    expect(await readdir(elsewhere)).toEqual([]);
  });

  it.each(['blobs', 'refs', 'snapshots', '.no_exist', '../.locks', '../.locks/models--org--lotus'])(
    'downloads to no folder that a link of %s leads to, and asks the hub nothing',
    async (name) => {
      const [hub, workspace] = [await hubOf(), await temporaryFolder()];
      const elsewhere = await temporaryFolder();
      const link = path.join(workspace, 'cache', 'hub', 'models--org--lotus', name);
      await mkdir(path.dirname(link), { recursive: true });
      await symlink(elsewhere, link);
      expect((await refusal({ hub, workspace })).message).toContain(`leads to ${elsewhere}`);
      expect(await readdir(elsewhere)).toEqual([]);
      expect(hub.requests).toEqual([]);
    },
  );

  it.each([
    ['a file that is there', 'blobs/0123.incomplete', 'precious'],
    ['a file that is not there', 'blobs/0123.incomplete', null],
    ['a file that a lock would empty', '../.locks/models--org--lotus/0123.lock', 'precious'],
  ])('writes to nothing that a link leads to: %s', async (_what, name, content) => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const target = path.join(await temporaryFolder(), 'target');
    if (content !== null) await writeFile(target, content);
    const link = path.join(workspace, 'cache', 'hub', 'models--org--lotus', name);
    await mkdir(path.dirname(link), { recursive: true });
    await symlink(target, link);
    expect((await refusal({ hub, workspace })).message).toContain(`${link} leads to ${target}`);
    expect(await readFile(target, 'utf8').catch(() => null)).toBe(content);
  });

  it('downloads again what a link in the cache has lost', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const { folder = '' } = await provide({ hub, workspace });
    await rm(await realpath(path.join(folder, UNET)));
    expect((await provide({ hub, workspace })).state).toBe('made');
  });

  it('goes by a cache that the operator has named by a link', async () => {
    const [hub, workspace, elsewhere] = [
      await hubOf(),
      await temporaryFolder(),
      await temporaryFolder(),
    ];
    const HF_HOME = path.join(workspace, 'home');
    await symlink(elsewhere, HF_HOME);
    const wanted = { hub, workspace, env: { HF_HOME } };
    expect((await provide(wanted)).state).toBe('made');
    expect((await provide(wanted)).state).toBe('ready');
  });

  it.each([
    ['revision', { revision: '../../../../elsewhere' }],
    ['file', { files: [{ name: '../../../../../elsewhere', bytes: 1 }] }],
  ])('does not believe a note whose %s leads out of the cache', async (_what, changes) => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const first = await provide({ hub, workspace });
    const note = path.join(workspace, 'models', 'org--lotus@main.json');
    await cp(CHECKPOINT, path.join(workspace, 'elsewhere'), { recursive: true });
    await writeFile(
      note,
      JSON.stringify({ ...JSON.parse(await readFile(note, 'utf8')), ...changes }),
    );
    expect(await provide({ hub, workspace })).toEqual(first);
  });

  it('asks the hub again when what it noted is damaged', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const first = await provide({ hub, workspace });
    await writeFile(path.join(workspace, 'models', 'org--lotus@main.json'), '');
    expect(await provide({ hub, workspace })).toEqual(first);
  });

  it('goes on from where a connection was dropped', async () => {
    const hub = await hubOf({
      at: LARGE_FILE,
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
    const hub = await hubOf({ at: LARGE_FILE, kind: 'drop', after: 11_000_000 });
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

  it('fetches again all that is damaged, at once', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const { folder = '' } = await provide({ hub, workspace });
    for (const name of [UNET, 'vae/config.json', 'tokenizer/merges.txt']) {
      const file = await realpath(path.join(folder, name));
      const bytes = await readFile(file);
      bytes.writeUInt8(bytes.readUInt8(7) ^ 0xff, 7); // of the same size as before
      await writeFile(file, bytes);
    }
    const asked = gets(hub).length;
    await provide({ hub, workspace, update: true });
    expect(lines.filter((line) => line.includes('it broke off'))).toHaveLength(1);
    expect(gets(hub).length - asked).toBe(3);
    expect(await readFile(path.join(folder, 'vae/config.json'))).toEqual(
      await readFile(path.join(CHECKPOINT, 'vae/config.json')),
    );
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

  /** All of a model but one small file, without which it would load all the same, and no note of it. */
  async function allButOneFile(hub: Hub, workspace: string): Promise<string> {
    const { folder = '' } = await provide({ hub, workspace });
    await rm(await realpath(path.join(folder, SMALL)));
    await rm(path.join(workspace, 'models'), { recursive: true });
    return folder;
  }

  it('does not take what lacks one small file for the whole of it when the hub is gone', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    await allButOneFile(hub, workspace);
    await hub.close();
    expect((await refusal({ hub, workspace })).message).toContain('the hub cannot be reached');
    expect(existsSync(path.join(workspace, 'models'))).toBe(false);
    expect((await provide({ hub: await hubOf(), workspace })).state).toBe('made');
  });

  it('does not take it for the whole when the hub goes away after it was asked', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    await allButOneFile(hub, workspace);
    const hear = (line: string) => {
      if (line.includes('files of commit')) hub.faults.push({ kind: 'status', status: 503 });
    };
    const { message } = await refusal({ hub, workspace, hear });
    expect(message).toContain('the hub cannot be reached');
    expect(message).toContain(`${SMALL} did not come`);
    hub.faults.length = 0;
    expect((await provide({ hub, workspace })).state).toBe('made');
  });

  it('does not claim to have looked for a newer revision when the hub is gone', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    await provide({ hub, workspace });
    await hub.close();
    const { message } = await refusal({ hub, workspace, update: true });
    expect(message).toContain('the hub cannot be reached');
    expect((await provide({ hub, workspace })).state).toBe('ready');
  });

  it('heeds an operator who forbids to ask the hub, before anything is installed', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const offline = { hub, workspace, env: { HF_HUB_OFFLINE: '1' } };
    await expect(checkSteps(stepsOf(offline))).rejects.toThrow('HF_HUB_OFFLINE=1 forbids');
    expect(hub.requests).toEqual([]);
    await provide({ hub, workspace, env: { HF_HUB_DISABLE_PROGRESS_BARS: '1' } });
    expect((await provide(offline)).state).toBe('ready');
    expect((await refusal({ ...offline, update: true })).message).toContain('is to be updated');
  });

  it('downloads nothing of what cannot be a checkpoint', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    await refusal({ hub, workspace, env: { MODEL_ID: 'org/none' } });
    expect(gets(hub)).toEqual([]);
  });

  it('downloads from a mirror that says neither sizes nor digests', async () => {
    const hub = await startHub({
      models: { 'org/lotus': { folder: CHECKPOINT, revision: COMMIT, bare: true } },
    });
    onTestFinished(() => hub.close());
    const workspace = await temporaryFolder();
    const { folder } = await provide({ hub, workspace });
    expect(await provide({ hub, workspace })).toMatchObject({ state: 'ready', folder });
    await allButOneFile(hub, workspace);
    hub.faults.push({ at: 'files', kind: 'status', status: 503 });
    expect((await refusal({ hub, workspace })).message).toContain('the hub cannot be reached');
  });

  it('says so when the client prints something else than its list', async () => {
    const talkative = path.join(await temporaryFolder(), 'python');
    await writeFile(talkative, '#!/bin/sh\necho no list\n', { mode: 0o755 });
    const config = readConfig({ MODEL_ID: 'org/lotus', WORKSPACE: await temporaryFolder() });
    const options = { config, env: {}, python: talkative, progress: () => {} };
    expect(await listFiles(options, 'main')).toMatchObject({
      fault: { what: expect.stringContaining('a list of files that cannot be') },
    });
  });

  it('takes no file of a hub that leads out of its folder', async () => {
    const models = { 'org/lotus': { folder: CHECKPOINT, revision: COMMIT } };
    const files = { '../../../../../outside.json': '{}' };
    const hub = await startHub({ models: { 'org/lotus': { ...models['org/lotus'], files } } });
    onTestFinished(() => hub.close());
    const { message } = await refusal({ hub, workspace: await temporaryFolder() });
    expect(message).toContain('a list of files that cannot be');
  });

  it('gets the revision that it had when some of it is lost, though the branch has moved', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const { folder = '' } = await provide({ hub, workspace });
    await rm(await realpath(path.join(folder, UNET)));
    const moved = await startHub({
      models: { 'org/lotus': { folder: CHECKPOINT, revision: COMMIT, refs: ['old'] } },
    });
    onTestFinished(() => moved.close());
    expect(await provide({ hub: moved, workspace })).toEqual({
      state: 'made',
      folder,
      revision: COMMIT,
    });
  });

  it('says how to go on when the revision that it had is nowhere any more', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const { folder = '' } = await provide({ hub, workspace });
    await rm(await realpath(path.join(folder, UNET)));
    const other = await startHub({
      models: { 'org/lotus': { folder: CHECKPOINT, revision: OTHER_COMMIT } },
    });
    onTestFinished(() => other.close());
    const { message } = await refusal({ hub: other, workspace });
    expect(message).toContain(`${COMMIT} (what main was at first; \`prefetch --update\``);
    expect((await provide({ hub: other, workspace, update: true })).revision).toBe(OTHER_COMMIT);
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
    const endpoint = hub.url.replace('//', '//someone:planted-too@');
    const env = { HF_TOKEN: 'hf_planted', HF_ENDPOINT: endpoint };
    const error = await refusal({ hub, workspace: await temporaryFolder(), env });
    expect(error.message).toContain('the hub cannot be reached. Check the network');
    expect(`${error.message} ${messageOf(error.cause)}`).not.toMatch(/planted/);
  });

  it('gives up on a hub that never answers', async () => {
    const hub = await hubOf({ at: 'api', kind: 'hang' });
    const patience = { ...QUICK, stall: 1500 };
    const error = await refusal({ hub, workspace: await temporaryFolder(), patience });
    expect(error.message).toContain('nothing came for 1.5 s');
    expect(hub.requests.length).toBe(3);
  });

  it('goes on from where a hub fell silent', async () => {
    const hub = await hubOf({ at: LARGE_FILE, times: 1, kind: 'hang', after: 12_000_000 });
    const workspace = await temporaryFolder();
    const patience = { ...QUICK, stall: 1500 };
    const { state } = await provide({ hub, workspace, env: { MODEL_ID: 'org/large' }, patience });
    expect(state).toBe('made');
    expect(lines.join('\n')).toContain('nothing came for 1.5 s');
    expect(gets(hub).map(({ range }) => range)).toContain('bytes=10485760-');
  });

  it('goes on from where it was when it is run again after it failed', async () => {
    const hub = await hubOf({ at: LARGE_FILE, times: 1, kind: 'drop', after: 12_000_000 });
    const workspace = await temporaryFolder();
    const hear = (line: string) => {
      if (line.includes('it broke off')) hub.faults.splice(0, 1, { kind: 'status', status: 503 });
    };
    const wanted = { hub, workspace, env: { MODEL_ID: 'org/large' } };
    expect((await refusal({ ...wanted, hear })).message).toContain('run it again');
    hub.faults.length = 0;
    expect((await provide(wanted)).state).toBe('made');
    expect(gets(hub).map(({ range }) => range)).toContain('bytes=10485760-');
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

describe("RunPod's cached models", () => {
  /** A hub cache with the sample as a commit of org/lotus, as RunPod puts it there. */
  async function runpodCacheOf(...commits: string[]): Promise<string> {
    const cache = path.join(await temporaryFolder(), 'hub');
    const model = path.join(cache, 'models--org--lotus');
    for (const commit of commits) {
      await cp(CHECKPOINT, path.join(model, 'snapshots', commit), { recursive: true });
      await writeFile(path.join(model, 'snapshots', commit, 'README.md'), 'not ours to ask for');
      await mkdir(path.join(model, 'refs'), { recursive: true });
      await writeFile(path.join(model, 'refs', 'main'), commit);
    }
    return cache;
  }
  const nowhere = { url: 'http://127.0.0.1:9' };

  it('are used instead of a download, and their commit is written down', async () => {
    const workspace = await temporaryFolder();
    const runpodCache = await runpodCacheOf(COMMIT);
    const wanted = { hub: nowhere, workspace, runpodCache };
    const { state, revision, folder } = await provide(wanted);
    expect({ state, revision }).toEqual({ state: 'ready', revision: COMMIT });
    expect(folder).toContain(runpodCache);
    const [name] = await readdir(path.join(workspace, 'models'));
    const manifest = JSON.parse(await readFile(path.join(workspace, 'models', name ?? ''), 'utf8'));
    expect(manifest).toMatchObject({ model: 'org/lotus', requested: 'main', revision: COMMIT });
    expect(manifest.files.map((file: { name: string }) => file.name)).not.toContain('README.md');
  });

  it('are written down by nobody who only looks', async () => {
    const workspace = await temporaryFolder();
    const steps = stepsOf({ hub: nowhere, workspace, runpodCache: await runpodCacheOf(COMMIT) });
    expect((await checkSteps(steps)).checked[1]?.found.state).toBe('ready');
    expect(await readdir(workspace)).toEqual([]);
  });

  it('change nothing when another commit is cached there: the one that was written down is fetched', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    await provide({ hub, workspace, runpodCache: await runpodCacheOf(COMMIT) });
    expect(hub.requests).toEqual([]);
    const runpodCache = await runpodCacheOf(OTHER_COMMIT);
    const wanted = { hub, workspace, runpodCache };
    const { state, revision, folder } = await provide(wanted);
    expect({ state, revision }).toEqual({ state: 'made', revision: COMMIT });
    expect(folder).toContain(workspace);
    expect(await provide(wanted)).toEqual({ state: 'ready', revision, folder });
  });

  it('give way to what a download has written down', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const first = await provide({ hub, workspace });
    const runpodCache = await runpodCacheOf(OTHER_COMMIT);
    expect(await provide({ hub, workspace, runpodCache })).toEqual({ ...first, state: 'ready' });
  });

  it('are as good for the commit that was written down, and nearer', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    await provide({ hub, workspace });
    const runpodCache = await runpodCacheOf(OTHER_COMMIT, COMMIT);
    const { revision, folder } = await provide({ hub, workspace, runpodCache });
    expect(revision).toBe(COMMIT);
    expect(folder).toContain(runpodCache);
  });

  it('are not taken where they lack a file that was written down', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const first = await provide({ hub, workspace });
    const runpodCache = await runpodCacheOf(COMMIT);
    await rm(path.join(runpodCache, 'models--org--lotus', 'snapshots', COMMIT, SMALL));
    expect(await provide({ hub, workspace, runpodCache })).toEqual({ ...first, state: 'ready' });
  });

  it('are not taken where a link leads out of them', async () => {
    const [hub, workspace] = [await hubOf(), await temporaryFolder()];
    const runpodCache = await runpodCacheOf(COMMIT);
    const unet = path.join(runpodCache, 'models--org--lotus', 'snapshots', COMMIT, UNET);
    await rm(unet);
    await symlink(path.join(CHECKPOINT, UNET), unet);
    expect((await provide({ hub, workspace, runpodCache })).folder).toContain(workspace);
    expect((await provide({ hub, workspace, runpodCache })).folder).toContain(workspace);
  });

  it('serve all the same where nothing can be written down', async () => {
    const workspace = await temporaryFolder();
    await writeFile(path.join(workspace, 'models'), 'in the way');
    const wanted = { hub: nowhere, workspace, runpodCache: await runpodCacheOf(COMMIT) };
    expect(await provide(wanted)).toMatchObject({ state: 'ready', revision: COMMIT });
    expect(lines.join('\n')).toContain('could not be written down');
  });
});
