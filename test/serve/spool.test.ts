import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { APP_ROOT } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { start, temporaryFolder } from '../cli/cli.ts';
import { namespace, whyNoNamespace } from '../provision/namespace.ts';
import { StandInPlatform } from '../runpod/platform.ts';
import { filesBelow, folderOf } from '../spool/rig.ts';
import { API_KEY, goodInput, logLines, said, terminate } from './rig.ts';

/** More than is tried in a test: nothing gets through until it is mended. */
const DOWN = Array<number>(100_000).fill(500);

/** A workspace of the test's own, with the packages of the tests' so that nothing is installed. */
async function workspaceOfTest() {
  const workspace = path.join(await temporaryFolder(), 'Lotus');
  await mkdir(workspace);
  const venvs = path.join(readConfig(process.env).workspace, 'venvs');
  await symlink(venvs, path.join(workspace, 'venvs'));
  const outputs = path.join(workspace, 'output_images');
  return { workspace, outputs, spool: path.join(outputs, '.spool') };
}

async function platformOfTest(): Promise<StandInPlatform> {
  const platform = await StandInPlatform.start();
  onTestFinished(() => platform.close());
  return platform;
}

interface Life {
  platform: StandInPlatform;
  workspace: string;
  workerId?: string;
  env?: Record<string, string>;
}

/** One life of a worker, the real one, on a volume that outlives it. */
function live({ platform, workspace, workerId = 'worker1', env = {} }: Life) {
  const child = start(
    ['serve', '--no-warmup'],
    environmentOf({ platform, workspace, workerId, env }),
  );
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await child;
  });
  return {
    logged: (text: string) => said(child.stderr, (written) => written.includes(text)),
    /** At once, as a machine dies. */
    kill: async () => {
      process.kill(child.pid as number, 'SIGKILL');
      await child;
    },
    end: async () => {
      terminate(child);
      const { exitCode, stderr } = await child;
      return { exitCode, lines: logLines(stderr) };
    },
  };
}

function environmentOf({ platform, workspace, workerId, env }: Required<Life>) {
  return {
    ...platform.env(200),
    RUNPOD_POD_ID: workerId,
    WORKSPACE: workspace,
    LOTUS_ALLOW_EPHEMERAL: '1',
    LOTUS_API_KEY: API_KEY,
    LOTUS_LOG_LEVEL: 'debug',
    ...env,
  };
}

const postsOf = (platform: StandInPlatform, id: string) =>
  platform.requestsTo('job-done').filter((request) => request.path.endsWith(`/${id}`));

/** What a worker says of its life when it takes no more jobs. */
const lastWord = (lines: ReturnType<typeof logLines>) =>
  lines.find(({ msg }) => msg === 'no more jobs');

const records = async (spool: string) =>
  (await filesBelow(spool)).map((file) => path.basename(file));

async function age(file: string, seconds: number): Promise<void> {
  const at = Date.now() / 1000 - seconds;
  await utimes(file, at, at);
}

describe('a worker that is killed before its results have arrived', () => {
  it('delivers them in its next life, to the byte, without running them again', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const platform = await platformOfTest();
    for (const id of ['map', 'failure', 'several']) platform.spoilResults(id, ...DOWN);
    const input = await goodInput();
    const { image_base64, ...options } = input;
    const images = [{ image_base64 }, { image_base64: '!' }, { id: 'third', image_base64 }];
    const jobs = [
      { id: 'map', input },
      { id: 'several', input: { ...options, images } },
      { id: 'failure', input: { ...input, api_key: 'sk-of-nobody' } },
    ];
    const first = live({ platform, workspace });
    platform.queue(...jobs);
    await platform.until(() => jobs.every(({ id }) => postsOf(platform, id).length > 0));
    await first.kill();
    expect(await records(spool)).toEqual([
      'failure.json',
      'map.json',
      'map.picture',
      'several.json',
      'several.picture',
      'several~3.picture',
    ]);
    for (const file of (await filesBelow(spool)).filter((one) => one.endsWith('.json'))) {
      expect(await readFile(path.join(spool, file), 'utf8')).not.toMatch(/sk-|platform-secret/);
    }

    const second = live({ platform, workspace });
    platform.queue(...jobs); // the platform thinks that they are to be done again
    await second.logged('duplicate');
    for (const { id } of jobs) platform.mend(id);
    await platform.until(() => platform.accepted.size === 3);
    const { exitCode, lines } = await second.end();
    for (const { id } of jobs) {
      const [tried, ...more] = postsOf(platform, id).map(({ body }) => body);
      expect(tried).toBeTruthy();
      expect(new Set(more)).toEqual(new Set([tried]));
    }
    expect(platform.results('failure')).toEqual([
      { error: 'Unauthorized', output: { status: 401, code: 'unauthorized' } },
    ]);
    const picture = expect.stringMatching(/^iVBOR/);
    expect(platform.results('several')).toMatchObject([
      {
        output: { images: [{ image_base64: picture }, {}, { id: 'third', image_base64: picture }] },
      },
    ]);
    expect(lines.filter(({ msg }) => msg === 'job')).toEqual([]);
    expect(lastWord(lines)).toMatchObject({ taken: 0, duplicates: 3, recovered: 3, delivered: 3 });
    expect([exitCode, existsSync(spool)]).toEqual([0, false]);
  });

  it('repeats one whose acknowledgement was lost with it, and counts that', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const platform = await platformOfTest();
    platform.spoilResults('a', 'drop-after', ...DOWN);
    const first = live({ platform, workspace });
    platform.queue({ id: 'a', input: await goodInput() });
    await platform.until(() => platform.results('a').length === 1);
    await first.kill();
    platform.mend('a');
    const second = live({ platform, workspace });
    await platform.until(() => platform.results('a').length === 2);
    const [once, again] = platform.results('a');
    expect(again).toEqual(once);
    expect(lastWord((await second.end()).lines)).toMatchObject({ recovered: 1, repeats: 1 });
    expect(existsSync(spool)).toBe(false);
  });

  it('leaves them to another, which says what is missing and what has become too old', async () => {
    const { workspace, outputs, spool } = await workspaceOfTest();
    const platform = await platformOfTest();
    const ids = ['whole', 'no-picture', 'too-old', 'damaged'];
    for (const id of ids) platform.spoilResults(id, ...DOWN);
    const former = live({ platform, workspace, workerId: 'former' });
    const input = await goodInput();
    platform.queue(...ids.map((id) => ({ id, input })));
    await platform.until(() => ids.every((id) => postsOf(platform, id).length > 0));
    await former.kill();
    const [endpoint = ''] = await readdir(spool);
    const dir = await folderOf(spool, 'former', endpoint);
    await rm(path.join(outputs, 'no-picture.png'));
    await rm(path.join(dir, 'no-picture.picture'));
    await age(path.join(dir, 'too-old.json'), 31 * 60);
    await execa('truncate', ['-s', '100', path.join(dir, 'damaged.json')]);
    await age(path.join(dir, 'beat'), 61);
    for (const id of ids) platform.mend(id);

    const other = live({ platform, workspace, workerId: 'other' });
    await platform.until(() => platform.accepted.size === 2);
    const { lines } = await other.end();
    const [first] = postsOf(platform, 'whole');
    expect(postsOf(platform, 'whole').at(-1)).toMatchObject({
      path: '/v2/ep1/job-done/former/whole',
      status: 200,
      body: first?.body,
    });
    expect(platform.results('no-picture')).toMatchObject([
      { output: { image_base64: null, width: 640, warnings: [/its picture is gone/] } },
    ]);
    expect(lines).toContainEqual(
      expect.objectContaining({ msg: 'expired', job: 'too-old', worker: 'former' }),
    );
    expect(lines).toContainEqual(
      expect.objectContaining({ msg: 'a kept result is damaged: removed' }),
    );
    expect(lastWord(lines)).toMatchObject({ recovered: 2, expired: 1, delivered: 2, repeats: 2 });
    expect(existsSync(spool)).toBe(false);
    expect(await readdir(outputs)).toContain('too-old.png');
  });
});

describe.skipIf(whyNoNamespace())('a folder of pictures that cannot be written to', () => {
  it.each([
    ['is full', 'mount -t tmpfs -o size=4k,nr_inodes=2 tmpfs "$WORKSPACE/output_images"', 'ENOSPC'],
    [
      'is read-only',
      'mount --bind "$WORKSPACE/output_images" "$WORKSPACE/output_images";' +
        ' mount -o remount,bind,ro "$WORKSPACE/output_images"',
      'EROFS',
    ],
  ])('%s: results are delivered all the same', async (_what, script, code) => {
    const { workspace, outputs } = await workspaceOfTest();
    await mkdir(outputs);
    const platform = await platformOfTest();
    const { within } = await namespace(script, workspace);
    const [program = '', ...rest] = within;
    const env = environmentOf({ platform, workspace, workerId: 'worker1', env: {} });
    const main = path.join(APP_ROOT, 'src', 'cli', 'main.ts');
    const child = execa(program, [...rest, process.execPath, main, 'serve', '--no-warmup'], {
      reject: false,
      stdin: 'ignore',
      env: { LOTUS_SAMPLE: '1', ...env },
    });
    onTestFinished(async () => {
      child.kill('SIGKILL');
      await child;
    });
    platform.queue({ id: 'a', input: await goodInput() });
    await platform.until(() => platform.results('a').length === 1);
    expect(platform.results('a')).toMatchObject([
      { output: { image_base64: expect.any(String), file_path: null } },
    ]);
    terminate(child);
    const { exitCode, stderr } = await child;
    const lines = logLines(stderr);
    expect(lines).toContainEqual(
      expect.objectContaining({
        msg: 'keep-failed',
        job: 'a',
        error: expect.stringContaining(code),
      }),
    );
    expect([exitCode, lastWord(lines)]).toMatchObject([0, { delivered: 1 }]);
  });
});

describe('the limits of the folder of pictures', () => {
  it('hold by the local API too', async () => {
    const { workspace, outputs } = await workspaceOfTest();
    await mkdir(outputs);
    await writeFile(path.join(outputs, 'old.png'), Buffer.alloc(1_500_000));
    await age(path.join(outputs, 'old.png'), 120);
    const child = start(['serve', '--http', '--port', '0', '--no-warmup'], {
      WORKSPACE: workspace,
      LOTUS_API_KEY: API_KEY,
      LOTUS_OUTPUT_MAX_BYTES: '1000000',
      LOTUS_LOG_LEVEL: 'info',
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    await said(child.stderr, (written) => written.includes('removed old outputs'));
    expect(await readdir(outputs)).toEqual([]);
    terminate(child);
    expect((await child).exitCode).toBe(0);
  });

  it('hold while jobs are served: what is old goes, what is owed stays', async () => {
    const { workspace, outputs, spool } = await workspaceOfTest();
    const platform = await platformOfTest();
    platform.spoilResults('owed', ...DOWN);
    const first = live({ platform, workspace });
    platform.queue(
      { id: 'done', input: await goodInput() },
      { id: 'owed', input: await goodInput() },
    );
    await platform.until(() => postsOf(platform, 'owed').length > 0);
    await platform.until(() => platform.results('done').length === 1);
    await expect.poll(() => records(spool)).not.toContain('done.json');
    await first.kill();
    for (const name of ['done.png', 'owed.png']) await age(path.join(outputs, name), 120);
    const env = { LOTUS_OUTPUT_MAX_AGE: '60', LOTUS_LOG_LEVEL: 'info' };
    const second = live({ platform, workspace, env });
    await second.logged('removed old outputs');
    expect((await readdir(outputs)).filter((name) => name.endsWith('.png'))).toEqual(['owed.png']);
    platform.mend('owed');
    await platform.until(() => platform.results('owed').length === 1);
    expect(platform.results('owed')).toMatchObject([
      { output: { image_base64: expect.any(String) } },
    ]);
    await second.end();
    expect(existsSync(spool)).toBe(false);
  });
});
