import { copyFile, readdir } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { MAIN, VERSION } from '../../src/app.ts';
import { hasTerminal, IMAGES, rows, start, temporaryFolder } from './cli.ts';

describe('the command line', () => {
  it('says its version', async () => {
    expect(await start(['--version'])).toMatchObject({ exitCode: 0, stdout: VERSION });
  });

  it.each([
    [['--help'], 'infer'],
    [['infer', '--help'], '--processing-res <pixels>'],
    [['infer', '--help'], 'the sample model: small, no GPU, no download'],
    [['warmup', '--help'], '--json'],
    [['demo', '--help'], '--output <dir>'],
  ])('helps: %j', async (args, text) => {
    const { exitCode, stdout, stderr } = await start(args);
    expect(exitCode).toBe(0);
    expect(stdout).toContain(text);
    expect(stderr).toBe('');
  });

  it.each([
    ['no command', [], 'Usage: lotus-worker'],
    ['an unknown command', ['inferr'], "unknown command 'inferr'"],
    ['no path', ['infer'], "missing required argument 'path'"],
    [
      'an unknown flag',
      ['infer', 'a.png', '--procesing-res', '5'],
      'Did you mean --processing-res',
    ],
    ['a word for a number', ['infer', 'a.png', '--seed', 'one'], 'It is no integer'],
    ['a number out of range', ['infer', 'a.png', '--timestep', '1000'], '--timestep'],
    ['an unknown method', ['infer', 'a.png', '--resample-method', 'lanczos'], 'bilinear, bicubic'],
    [
      'an unknown format',
      ['infer', 'a.png', '--format', 'png,gif'],
      'Known formats: png, png16, npy, color, exr, uncertainty',
    ],
    [
      'rows and a map on standard output',
      ['infer', 'a.png', '-o', '-', '--json'],
      'the map goes to standard output, and so would --json',
    ],
    [
      'two maps on standard output',
      ['infer', 'a.png', '-o', '-', '--format', 'png,npy'],
      'takes one --format, not png,npy',
    ],
    ['two images for standard output', ['infer', 'a.png', 'b.png', '-o', '-'], 'there are 2'],
    [
      'a contact sheet on standard output',
      ['infer', '-', '--contact-sheet=a.png'],
      'there is no place for --contact-sheet',
    ],
    ['a shell that it does not know', ['completion', 'tcsh'], 'bash, zsh, fish'],
    ['two models', ['infer', 'a.png', '--sample', '--model', 'x/y'], 'cannot be used with'],
  ])('refuses %s with exit code 2 and says why', async (_what, args, text) => {
    const { exitCode, stdout, stderr } = await start(args);
    expect(exitCode).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain(text);
  });

  it.each([
    ['a folder', 'photos', 'give it the name that a PNG is to have'],
    ['a place outside of the output folder', '../a.png', 'give it the name that a PNG is to have'],
    ['an input', 'in.png', 'is an input'],
  ])('refuses a contact sheet that would be %s', async (_what, name, text) => {
    const dir = await temporaryFolder();
    await copyFile(path.join(IMAGES, 'balls.png'), path.join(dir, 'in.png'));
    const args = ['infer', 'in.png', '-o', '.', `--contact-sheet=${name}`];
    const { exitCode, stderr } = await start(args, {}, dir);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(text);
    expect(await readdir(dir)).toEqual(['in.png']);
  });

  it.runIf(hasTerminal)(
    'neither reads an image from a terminal nor writes a map to one',
    async () => {
      const onTerminal = async (command: string) =>
        await execa('script', ['-qec', command, '/dev/null'], {
          reject: false,
          stdin: 'ignore',
          cwd: os.tmpdir(),
        });
      const infer = `'${process.execPath}' '${MAIN}' infer`;
      const reading = await onTerminal(`${infer} - | cat`);
      expect(reading.stdout).toContain('from standard input, which is a terminal');
      const writing = await onTerminal(`cat /dev/null | ${infer} -`);
      expect(writing).toMatchObject({ exitCode: 2 });
      expect(writing.stdout).toContain('goes to standard output, which is a terminal');
    },
  );

  it('refuses a setting that is wrong with exit code 2, by its name and value', async () => {
    const { exitCode, stderr } = await start(['warmup'], { LOTUS_JOB_TIMEOUT: 'soon' });
    expect(exitCode).toBe(2);
    expect(stderr).toContain('LOTUS_JOB_TIMEOUT="soon"');
  });

  it('gives a row for every input when the model cannot be loaded', async () => {
    const args = ['infer', 'missing.png', IMAGES, '--json', '-o', await temporaryFolder()];
    const upstream = new URL('../../sample/upstream', import.meta.url).pathname;
    const env = { LOTUS_SAMPLE: '', LOTUS_UPSTREAM_DIR: upstream, MODEL_ID: '/no/such/model' };
    const { exitCode, stdout } = await start(args, env);
    expect(exitCode).toBe(1);
    const found = rows(stdout).map(({ ok, code }) => [ok, code]);
    expect(found).toEqual([[false, 'no_image'], ...Array(4).fill([false, 'model_unavailable'])]);
  });

  it('leaves nothing half made when it is interrupted while it sets things up', async () => {
    const workspace = path.join(await temporaryFolder(), 'Lotus');
    const running = start(['warmup'], { WORKSPACE: workspace });
    for await (const line of running.iterable({ from: 'stderr' })) {
      if (line.startsWith('venv: installing')) running.kill('SIGINT');
    }
    const { exitCode, stderr } = await running;
    expect(exitCode).toBe(130);
    expect(stderr).toMatch(/^interrupted$/m);
    expect(await readdir(path.join(workspace, 'venvs'))).toEqual([]);
  });

  it.each([
    [
      'a model that is not there',
      { MODEL_ID: '/no/such/model' },
      'no checkpoint in /no/such/model',
    ],
    ['an upstream that is none', { LOTUS_UPSTREAM_DIR: '/usr' }, 'LOTUS_UPSTREAM_DIR /usr'],
  ])('fails with exit code 1 at %s, and says what to do', async (_what, env, text) => {
    const { exitCode, stdout, stderr } = await start(['warmup'], {
      LOTUS_SAMPLE: '',
      LOTUS_UPSTREAM_DIR: new URL('../../sample/upstream', import.meta.url).pathname,
      ...env,
    });
    expect(exitCode).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toContain(text);
  });
});
