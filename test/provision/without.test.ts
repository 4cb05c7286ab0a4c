import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { whyNoRoot } from '../docker/root.ts';
import { interpreter, repository } from '../fixtures/provision/chaos-workspace.ts';
import { makeSmallApp, runSmall, type SmallApp } from './small-app.ts';

/** Whole runs of the real command where something is lacking: the network, the right to write, room. */
let dir = '';
let app: SmallApp;
let settings: Record<string, string> = {};
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'without-test-'));
  app = await makeSmallApp(path.join(dir, 'app'));
  const { url, commits } = await repository(path.join(dir, 'repository'));
  settings = {
    WORKSPACE: path.join(dir, 'ready', 'Lotus'),
    LOTUS_PYTHON: await interpreter(),
    LOTUS_UPSTREAM_DIR: '',
    LOTUS_UPSTREAM_URL: url,
    LOTUS_UPSTREAM_COMMIT: commits[0] ?? '',
    LOTUS_FLASH_ATTN: 'off',
    NODE_COMPILE_CACHE: path.join(dir, 'compiled'),
  };
  expect(await bootstrap()).toMatchObject({ exitCode: 0 });
});
afterAll(() => rm(dir, { recursive: true, force: true }));

type Variables = Record<string, string | undefined>;

interface Report {
  ready: boolean;
  step?: string;
  error?: string;
  steps: { name: string; state: string; what: string }[];
}

/** Run it; `report` is the one line that it prints. */
async function bootstrap(env: Variables = {}, args: string[] = [], within: string[] = []) {
  const all = ['bootstrap', '--no-warmup', '--json', ...args];
  const run = await runSmall(app, all, { ...settings, ...env }, [], { within });
  const { exitCode, stdout, stderr } = run;
  expect(stdout.split('\n'), stderr).toHaveLength(1);
  const report: Report = JSON.parse(stdout);
  const of = Object.fromEntries(
    report.steps.map(({ name, state, what }) => [name, { state, what }]),
  );
  return { exitCode, report, stderr, of };
}

const OFFLINE = ['unshare', '-n'];
const canUnshareNet = (await execa('unshare', ['-n', 'true'], { reject: false })).exitCode === 0;

describe.runIf(canUnshareNet)('bootstrap without a network', () => {
  const nothing = () => ({
    WORKSPACE: path.join(dir, crypto.randomUUID(), 'Lotus'),
    UV_CACHE_DIR: path.join(dir, 'empty cache'),
    UV_HTTP_RETRIES: '0',
  });

  it('is ready at once where everything is', async () => {
    const { report, of } = await bootstrap({ UV_CACHE_DIR: path.join(dir, 'none') }, [], OFFLINE);
    expect(report.ready).toBe(true);
    expect(new Set(Object.values(of).map(({ state }) => state))).toEqual(new Set(['ready']));
  });

  it.each<[string, Variables, string[], string]>([
    [
      'interpreter',
      { LOTUS_PYTHON: '', PATH: '/bin', HOME: '/nothing', PYENV_ROOT: '' },
      [],
      'or set LOTUS_PYTHON to one',
    ],
    [
      'venv',
      { UV_DEFAULT_INDEX: 'https://user:planted@example.invalid/simple?planted' },
      [],
      'Check the network, and run it again',
    ],
  ])('from nothing ends at the %s, and says what to do', async (step, env, args, advice) => {
    const { exitCode, report, stderr, of } = await bootstrap(
      { ...nothing(), LOTUS_UV: process.env.LOTUS_UV ?? 'uv', ...env },
      args,
      OFFLINE,
    );
    expect({ exitCode, ready: report.ready, step: report.step }).toEqual({
      ...{ exitCode: 1, ready: false, step },
    });
    expect(report.error).toContain(advice);
    expect(of.volume?.state).toBe('made');
    expect(stderr).toContain(advice);
    expect(`${report.error} ${stderr}`).not.toContain('planted');
  });

  it.each<[string, Variables, string[], string]>([
    [
      'upstream',
      {
        LOTUS_UPSTREAM_URL: 'https://user:planted@example.invalid/lotus.git',
        LOTUS_UPSTREAM_COMMIT: 'a'.repeat(40),
      },
      [],
      'Check the network, LOTUS_UPSTREAM_URL and LOTUS_UPSTREAM_COMMIT',
    ],
    ['weights', { MODEL_ID: 'org/model' }, ['--prefetch'], 'the hub cannot be reached'],
  ])('ends at %s where that is missing, and says what to do', async (step, env, args, advice) => {
    const { exitCode, report, stderr, of } = await bootstrap(env, args, OFFLINE);
    expect({ exitCode, step: report.step }).toEqual({ exitCode: 1, step });
    expect(report.error).toContain(advice);
    expect(of.venv?.state).toBe('ready');
    expect(stderr).not.toContain('planted');
  });

  it('goes on without flash-attn, and says why', async () => {
    const source = 'https://user:planted@example.invalid/flash_attn-2.8.3-py3-none-any.whl?planted';
    const { exitCode, of, stderr } = await bootstrap({ LOTUS_FLASH_ATTN: source }, [], OFFLINE);
    expect(exitCode).toBe(0);
    expect(of['flash-attn']?.state).toBe('skipped');
    expect(of['flash-attn']?.what).toMatch(/whl\?\.\.\. cannot be had: .*example\.invalid/);
    expect(stderr).not.toContain('planted');
  });

  it('logs what lies behind its failure, where nobody is looking, and to a person says the message', async () => {
    const args = ['prefetch'];
    const env = { ...settings, MODEL_ID: 'org/model' };
    const { stderr } = await runSmall(app, args, env, [], { within: OFFLINE });
    const lines = stderr.split('\n');
    const records = lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
    expect(records.at(-1)).toMatchObject({ level: 50, err: { type: 'Error' } });
    expect(records.at(-1).err.message).toContain('huggingface_hub');
    expect(lines.at(-1)).toMatch(/^error: Cannot download org\/model/);
    const command = `unshare -n ${process.execPath} ${app.root}/src/cli/main.ts prefetch`;
    const { stdout } = await execa('script', ['-qec', command, '/dev/null'], {
      reject: false,
      env,
    });
    expect(stdout).toContain('error: Cannot download org/model');
    expect(stdout).not.toContain('Error: Cannot');
    expect(stdout).not.toMatch(/at .*\.ts:\d+/);
  });
});

describe.skipIf(whyNoRoot())('bootstrap where nothing can be written', () => {
  const WHEEL = '/no/such/flash_attn-2.8.3-py3-none-any.whl';
  const within = (script: string) => ['unshare', '-m', 'sh', '-ec', `${script}; exec "$@"`, 'sh'];
  const readOnly = within(
    'mount --bind "$WORKSPACE" "$WORKSPACE"; mount -o remount,bind,ro "$WORKSPACE"',
  );

  it('serves from a read-only volume that lacks only flash-attn, and says so', async () => {
    const { exitCode, of, stderr } = await bootstrap({ LOTUS_FLASH_ATTN: WHEEL }, [], readOnly);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
    expect(of['flash-attn']?.state).toBe('skipped');
    expect(of['flash-attn']?.what).toContain('EROFS');
    expect(of.venv?.state).toBe('ready');
  });

  it('serves from one where flash-attn failed more than an hour ago', async () => {
    const note = path.join(settings.WORKSPACE ?? '', 'flash-attn', 'wheel.json');
    const failure = { reason: 'it did not import', at: Date.now() - 3_700_000 };
    await mkdir(path.dirname(note), { recursive: true });
    await writeFile(note, JSON.stringify({ source: WHEEL, failure }));
    const { exitCode, of } = await bootstrap({ LOTUS_FLASH_ATTN: WHEEL }, [], readOnly);
    expect({ exitCode, state: of['flash-attn']?.state }).toEqual({ exitCode: 0, state: 'skipped' });
    expect(await readFile(note, 'utf8')).toContain('it did not import');
  });

  it('says what to do when something else is missing there', async () => {
    const env = { LOTUS_UPSTREAM_COMMIT: 'a'.repeat(40) };
    const { exitCode, report } = await bootstrap(env, [], readOnly);
    expect(exitCode).toBe(1);
    expect(report.error).toContain('mounted read-only: prepare it where it can be written to');
  });

  it('serves from a full volume that lacks only flash-attn', async () => {
    const [source, full] = [settings.WORKSPACE ?? '', path.join(dir, 'full')];
    await mkdir(full);
    const { stdout } = await execa('du', ['-sm', source]);
    const size = Number.parseInt(stdout, 10) + 20;
    const fill = within(
      `mount -t tmpfs -o size=${size}m tmpfs ${full}; cp -a ${source} ${full}/;` +
        ` cat /dev/zero >${full}/zeros 2>/dev/null || true`,
    );
    const env = { WORKSPACE: path.join(full, 'Lotus'), LOTUS_FLASH_ATTN: `${WHEEL}.other.whl` };
    const { exitCode, of, stderr } = await bootstrap(env, [], fill);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
    expect(of['flash-attn']?.state).toBe('skipped');
    expect(of['flash-attn']?.what).toContain('ENOSPC');
    expect(of.venv?.state).toBe('ready');
  });
});

describe('bootstrap --json', () => {
  it('prints one line also where a setting is wrong', async () => {
    const { exitCode, report } = await bootstrap({ LOTUS_DEVICE: 'gpu' });
    expect(exitCode).toBe(2);
    expect(report).toMatchObject({ ready: false, steps: [] });
    expect(report.error).toContain('LOTUS_DEVICE="gpu"');
  });

  it('names the step that cannot be made at all', async () => {
    const { exitCode, report } = await bootstrap({ LOTUS_PYTHON: '/bin/false' });
    expect({ exitCode, step: report.step }).toEqual({ exitCode: 1, step: 'interpreter' });
  });

  it('names the volume where the workspace cannot be', async () => {
    const { report } = await bootstrap({ WORKSPACE: '/dev/null/Lotus' });
    expect(report.step).toBe('volume');
  });
});
