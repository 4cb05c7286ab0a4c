import { existsSync } from 'node:fs';
import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { readConfig } from '../../src/config.ts';
import type { Checkup } from '../../src/doctor/doctor.ts';
import { examineUploads } from '../../src/doctor/environment.ts';
import { examineGpu } from '../../src/doctor/gpu.ts';
import { hasNvidiaGpu } from '../../src/provision/flash-attn.ts';
import { start } from '../cli/cli.ts';
import { whyNoRoot, whyNoUsers } from '../docker/root.ts';
import {
  interpreter,
  makeWheel,
  repository,
  snapshot,
} from '../fixtures/provision/chaos-workspace.ts';
import { talkTo } from '../provision/programs.ts';
import { makeSmallApp, runSmall, type SmallApp } from '../provision/small-app.ts';

let dir = '';
let app: SmallApp;
let workspace = '';
let settings: Record<string, string> = {};
/** A workspace with a small set of packages, made by the real command. */
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'doctor-test-'));
  workspace = path.join(dir, 'Lotus');
  const wheels = path.join(dir, 'wheels');
  const { entry } = await makeWheel(wheels, 'alpha', '1.0', '');
  const options = { lock: entry, proof: 'import alpha', installedBytes: 1e6 };
  app = await makeSmallApp(path.join(dir, 'app'), options);
  const { url, commits } = await repository(path.join(dir, 'repository'));
  settings = {
    WORKSPACE: workspace,
    LOTUS_PYTHON: await interpreter(),
    LOTUS_UPSTREAM_DIR: '',
    LOTUS_UPSTREAM_URL: url,
    LOTUS_UPSTREAM_COMMIT: commits[0] ?? '',
    LOTUS_FLASH_ATTN: 'off',
    UV_FIND_LINKS: wheels,
  };
  const { exitCode, stderr } = await runSmall(app, ['bootstrap', '--no-warmup'], settings);
  expect(exitCode, stderr).toBe(0);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** What the page says of each thing, and whether anything in the workspace is a fault. */
async function examine(env: Record<string, string> = {}, within: string[] = []) {
  const args = ['doctor', '--json'];
  const run = await runSmall(app, args, { ...settings, ...env }, [], { within });
  const { exitCode, stdout, stderr } = run;
  if (!stdout.startsWith('{"healthy"')) throw new Error(`${exitCode} ${stdout} ${stderr}`);
  const { healthy, checkups } = JSON.parse(stdout) as { healthy: boolean; checkups: Checkup[] };
  expect(exitCode).toBe(healthy ? 0 : 1);
  const findings = checkups.flatMap((group) => group.findings);
  const inWorkspace = checkups.find(({ title }) => title === 'Workspace')?.findings ?? [];
  return {
    stdout,
    of: Object.fromEntries(
      findings.map(({ name, state, what, advice }) => [
        name,
        `${state}: ${what}${advice ? ` -> ${advice}` : ''}`,
      ]),
    ),
    faults: inWorkspace.filter(({ state }) => state === 'fault').map(({ name }) => name),
  };
}

describe('doctor, where all is well', () => {
  it('says so, on a page and in JSON, and ends with 0', async () => {
    const page = await start(['doctor']);
    expect(page.stdout).toContain('Nothing here would stop a job.');
    expect(page.stdout).not.toContain('FAIL');
    const json = await start(['doctor', '--json']);
    expect(JSON.parse(json.stdout).healthy).toBe(true);
    expect([page.exitCode, json.exitCode]).toEqual([0, 0]);
  });

  it.skipIf(hasNvidiaGpu())('says that CUDA is asked for and is not there', async () => {
    const { exitCode, stdout } = await start(['doctor'], { LOTUS_DEVICE: 'cuda' });
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/FAIL +torch .*LOTUS_DEVICE is cuda, and/);
    expect(stdout).toContain('A job would fail here: torch.');
  });
});

describe('doctor, of a workspace', () => {
  it('finds nothing wrong with a whole one, changes nothing, and sees that the venv has no torch', async () => {
    const before = await snapshot(workspace);
    const { of, faults } = await examine();
    expect(faults).toEqual([]);
    expect(of.release).toMatch(/^ok: /);
    expect(of.lock).toBe('ok: nobody holds it');
    expect(of.torch).toContain(
      "fault: does not import: ModuleNotFoundError: No module named 'torch'",
    );
    expect(await snapshot(workspace)).toEqual(before);
  });

  it('says what is missing where nothing is, and makes nothing', async () => {
    const nothing = path.join(dir, 'nothing', 'Lotus');
    const { of, faults } = await examine({ WORKSPACE: nothing, MODEL_ID: 'org/model' });
    expect(faults).toEqual(['volume', 'venv', 'upstream', 'weights']);
    expect(of.weights).toContain('fault: not there: org/model, main -> lotus-worker bootstrap');
    expect(of.torch).toBe('note: unknown without a venv');
    expect(existsSync(path.dirname(nothing))).toBe(false);
  });

  it('sees that the interpreter of the venv is gone', async () => {
    const [name = ''] = await readdir(path.join(workspace, 'venvs'));
    const python = path.join(workspace, 'venvs', name, 'bin', 'python');
    await rename(python, `${python}.kept`);
    await symlink('/no/such/python3.12', python);
    onTestFinished(() => rename(`${python}.kept`, python));
    const { of, faults } = await examine();
    expect(faults).toEqual(['venv']);
    expect(of.venv).toContain("not there: this machine's Python for the runtime packages");
  });

  it('sees an interpreter that is none', async () => {
    const { of, faults } = await examine({ LOTUS_PYTHON: '/bin/false' });
    expect(faults).toContain('interpreter');
    expect(of.interpreter).toContain('LOTUS_PYTHON /bin/false is no Python 3.12');
  });

  it('sees another commit than the one that is asked for, and one that was moved', async () => {
    const asked = await examine({ LOTUS_UPSTREAM_COMMIT: 'a'.repeat(40) });
    expect(asked.of.upstream).toContain(`not there: commit ${'a'.repeat(40)}`);
    const checkout = path.join(workspace, 'upstream', settings.LOTUS_UPSTREAM_COMMIT ?? '');
    const head = path.join(checkout, '.git', 'HEAD');
    const before = await readFile(head, 'utf8');
    onTestFinished(() => writeFile(head, before));
    await writeFile(head, `${'b'.repeat(40)}\n`);
    const { of, faults } = await examine();
    expect(faults).toEqual(['upstream']);
    expect(of.upstream).toContain(`is at ${'b'.repeat(40)}, and not at the commit`);
  });

  it('sees weights that lack a file', async () => {
    const model = path.join(dir, 'model');
    await cp(path.join(app.root, 'sample', 'checkpoint'), model, { recursive: true });
    await unlink(path.join(model, 'tokenizer', 'merges.txt'));
    const { of, faults } = await examine({ MODEL_ID: model });
    expect(faults).toEqual(['weights']);
    expect(of.weights).toContain('it has no tokenizer/merges.txt');
  });

  it('says why flash-attn is not there, and when it is tried again', async () => {
    const wheel = path.join(dir, 'flash_attn-2.8.3-py3-none-any.whl');
    await writeFile(wheel, 'no wheel');
    const env = { LOTUS_FLASH_ATTN: wheel };
    const made = await runSmall(app, ['bootstrap', '--no-warmup'], { ...settings, ...env });
    expect(made.exitCode).toBe(0);
    onTestFinished(() => rm(path.join(workspace, 'flash-attn'), { recursive: true }));
    const { of, faults } = await examine(env);
    expect(faults).toEqual([]);
    expect(of['flash-attn']).toMatch(/^note: not there: .*invalid.*\(tried again after 2/s);
  });

  it('says who holds the lock and what is being done, whether that is alive, and what lies about', async () => {
    const holder = talkTo('holds-the-lock', workspace);
    await holder.line('has it');
    const alive = await examine();
    expect(alive.faults).toEqual([]);
    expect(alive.of.lock).toMatch(/^note: held by .* \(process \d+, since .*; last sign of life 2/);
    await mkdir(path.join(workspace, 'venvs', `.x.${crypto.randomUUID()}.partial`));
    holder.kill('SIGKILL');
    await holder.ended();
    const dead = await examine();
    expect(dead.of.lock).toMatch(/that process is dead -> the next run takes it over/);
    expect(dead.of['half made']).toMatch(/^note: venvs\/\.x\.[0-9a-f-]+\.partial -> /);
    await runSmall(app, ['bootstrap', '--no-warmup'], settings);
    const after = await examine();
    expect(after.of.lock).toBe('ok: nobody holds it');
    expect(after.of['half made']).toBe(undefined);
  });

  it.skipIf(whyNoUsers())('says what this user may not read', async () => {
    const venvs = path.join(workspace, 'venvs');
    await execa('chown', ['10001', venvs]);
    await chmod(venvs, 0o700);
    onTestFinished(async () => {
      await execa('chown', ['0', venvs]);
      await chmod(venvs, 0o755);
    });
    // root, but without the right to read what is others'
    const { of, faults } = await examine({}, [
      'setpriv',
      '--bounding-set',
      '-dac_override,-dac_read_search',
    ]);
    expect(faults).toContain('reading');
    expect(of.reading).toContain(`user 0 may not read ${venvs} -> run it as the owner`);
  });

  const within = (script: string) => ['unshare', '-m', 'sh', '-ec', `${script}; exec "$@"`, 'sh'];

  it.skipIf(whyNoRoot())('is content with a read-only volume that has everything', async () => {
    const readOnly = within(
      'mount --bind "$WORKSPACE" "$WORKSPACE"; mount -o remount,bind,ro "$WORKSPACE"',
    );
    const whole = await examine({}, readOnly);
    expect(whole.faults).toEqual([]);
    expect(whole.of.writing).toContain('note: it is mounted read-only');
    const lacking = await examine({ LOTUS_UPSTREAM_COMMIT: 'a'.repeat(40) }, readOnly);
    expect(lacking.of.upstream).toContain('but not here: it is mounted read-only');
  });

  it.skipIf(whyNoRoot())('sees that the disk is full', async () => {
    const full = path.join(dir, 'full');
    await mkdir(full);
    const disk = within(`mount -t tmpfs -o size=1m tmpfs ${full}`);
    const { of } = await examine({ WORKSPACE: path.join(full, 'Lotus') }, disk);
    expect(of.writing).toMatch(/^note: it is full: \d MB free/);
    expect(of.venv).toContain('but not here: it is full');
  });
});

describe('doctor, of the bucket', () => {
  const uploadsIn = (env: Record<string, string>) => {
    const { state, what } = examineUploads(readConfig(env));
    return `${state}: ${what}`;
  };

  it('says where files go, and no key', () => {
    const env = {
      BUCKET_ENDPOINT_URL: 'https://s3.eu-west-1.amazonaws.com',
      BUCKET_ACCESS_KEY_ID: 'planted',
      BUCKET_SECRET_ACCESS_KEY: 'planted',
      BUCKET_NAME: 'maps',
    };
    expect(uploadsIn(env)).toBe(
      'ok: what is not in an answer goes to the bucket at https://s3.eu-west-1.amazonaws.com, maps, region eu-west-1',
    );
  });

  it('says that there is none', () => {
    expect(uploadsIn({})).toBe('ok: no bucket: files stay on the volume');
  });
});

describe('doctor, of the environment', () => {
  it('shows of secrets whether they are set, and none of them', async () => {
    const { of, stdout } = await examine({
      HF_TOKEN: 'hf_planted',
      LOTUS_API_KEY: 'planted',
      LOTUS_FLASH_ATTN: 'https://user:planted@127.0.0.1:2/flash_attn-1-py3-none-any.whl?planted',
      LOTUS_UPSTREAM_URL: 'https://user:planted@127.0.0.1:2/lotus.git',
    });
    expect(of.HF_TOKEN).toBe('ok: set');
    expect(of.LOTUS_API_KEY).toBe('ok: set');
    expect(of.RUNPOD_API_KEY).toBe('ok: not set');
    expect(of.LOTUS_UPSTREAM_URL).toBe('ok: https://127.0.0.1:2/lotus.git');
    expect(stdout).not.toContain('planted');
  });

  it('names a variable that is no setting', async () => {
    const { of } = await examine({ LOTUS_DEVCIE: 'cuda' });
    expect(of.LOTUS_DEVCIE).toBe('note: is no setting -> docs/settings.md lists them');
  });

  it('names a setting that is wrong, also in JSON, and ends with 2', async () => {
    const { exitCode, stdout, stderr } = await start(['doctor', '--json'], { LOTUS_DEVICE: 'gpu' });
    expect(exitCode).toBe(2);
    expect(stderr).toContain('LOTUS_DEVICE="gpu"');
    expect(JSON.parse(stdout)).toMatchObject({ healthy: false });
    expect(JSON.parse(stdout).error).toContain('LOTUS_DEVICE="gpu"');
  });
});

describe('doctor, where something never answers', () => {
  it('says that the driver is stuck', async () => {
    const bin = path.join(dir, 'bin');
    await mkdir(bin);
    await writeFile(
      path.join(bin, 'nvidia-smi'),
      '#!/bin/sh\ntrap "" TERM\nwhile :; do sleep 0.1; done\n',
    );
    await chmod(path.join(bin, 'nvidia-smi'), 0o755);
    const { PATH } = process.env;
    process.env.PATH = `${bin}:${PATH}`;
    onTestFinished(() => {
      process.env.PATH = PATH;
    });
    const [driver] = await examineGpu(readConfig(settings), settings, {}, { driverLimit: 100 });
    expect(driver).toMatchObject({ name: 'driver', state: 'fault' });
    expect(driver?.what).toBe('nvidia-smi did not end within 0.1 s: the driver is stuck');
  });

  it('says so when torch prints something else than its report', async () => {
    const python = path.join(dir, 'talkative python');
    await writeFile(python, '#!/bin/sh\necho Intel MKL WARNING\n', { mode: 0o755 });
    const [, torch] = await examineGpu(readConfig(settings), settings, { python });
    expect(torch).toMatchObject({ name: 'torch', state: 'fault' });
    expect(torch?.what).toBe('gives no report, but: Intel MKL WARNING');
  });

  it('gives the page all the same, and ends', async () => {
    // Reading it takes for ever, as reading from a dead server does.
    const note = path.join(workspace, 'flash-attn', 'wheel.json');
    await mkdir(path.dirname(note));
    await execa('mkfifo', [note]);
    onTestFinished(() => rm(path.dirname(note), { recursive: true }));
    const main = path.join(app.root, 'src', 'cli', 'doctor.ts');
    const script = `const { doctor } = await import('${main}'); process.exitCode = await doctor({}, 3000)`;
    const { exitCode, signal, stdout } = await execa(
      process.execPath,
      ['--input-type=module', '-e', script],
      { reject: false, env: { ...settings, LOTUS_FLASH_ATTN: '/a/flash_attn-1-py3-none-any.whl' } },
    );
    expect({ exitCode, signal }).toEqual({ exitCode: undefined, signal: 'SIGKILL' });
    expect(stdout).toMatch(/FAIL +flash-attn +no answer within 3 s/);
    expect(stdout).toContain('A job would fail here: ');
  });
});
