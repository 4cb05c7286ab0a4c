import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { MAIN } from '../../src/app.ts';
import { LEDGER } from '../../src/cli/ledger.ts';
import { digest, filter, IMAGES, rows, scratchFolder, start, temporaryFolder } from './cli.ts';

const QUICK = ['--processing-res', '128'];

/** Whoever starts a model with this fails. */
const NO_MODEL = { LOTUS_PYTHON: '/no/such/python' };

/** A folder with good images of every kind and bad ones of many. */
async function mixedBag(): Promise<string> {
  const dir = path.join(await temporaryFolder(), 'bag');
  await mkdir(dir);
  const put = (name: string, bytes: Uint8Array | string) => writeFile(path.join(dir, name), bytes);
  const jpeg = await readFile(path.join(IMAGES, 'corridor.jpg'));
  await put('good.jpg', jpeg);
  await copyFile(path.join(IMAGES, 'mountains.webp'), path.join(dir, 'good2.webp'));
  await copyFile(path.join(IMAGES, 'shapes.png'), path.join(dir, 'good3.png'));
  await put('cut-off.jpg', jpeg.subarray(0, jpeg.length / 2));
  await put('empty.jpg', '');
  await put('letter.jpg', 'Dear Sir or Madam,\n');
  const create = { width: 8192, height: 8192, channels: 3 as const, background: 'grey' };
  await put('large.png', await sharp({ create, limitInputPixels: false }).png().toBuffer());
  return dir;
}

describe('lotus-worker infer', () => {
  it('gives each good image its map and each bad one its error, whatever the others are', async () => {
    const dir = await mixedBag();
    const out = path.join(dir, 'maps');
    const missing = path.join(dir, 'missing.png');
    const run = await start([
      'infer',
      dir,
      missing,
      '--output',
      out,
      '--format',
      'npy',
      '--json',
      ...QUICK,
    ]);
    expect(run.exitCode).toBe(1);
    const found = Object.fromEntries(
      rows(run.stdout).map((row) => [path.basename(String(row.input)), row]),
    );
    expect(found).toMatchObject({
      'good.jpg': {
        ok: true,
        width: 640,
        height: 427,
        processing_width: 128,
        processing_height: 80,
      },
      'good2.webp': { ok: true, width: 480, height: 640 },
      'good3.png': { ok: true, width: 512, height: 384, device: 'cpu', attention: 'sdpa' },
      'cut-off.jpg': { ok: false, code: 'invalid_image', outputs: [] },
      'empty.jpg': { ok: false, code: 'no_image', error: 'The image is empty (0 bytes).' },
      'letter.jpg': { ok: false, code: 'unsupported_format' },
      'large.png': {
        ok: false,
        code: 'image_too_large',
        error: 'Image too large; max 4096x4096 pixels.',
      },
      'missing.png': { ok: false, code: 'no_image' },
    });
    expect((await readdir(out)).toSorted()).toEqual(
      [
        LEDGER,
        'good.npy',
        'good.png',
        'good2.npy',
        'good2.png',
        'good3.npy',
        'good3.png',
      ].toSorted(),
    );
    expect(await sharp(path.join(out, 'good.png')).metadata()).toMatchObject({
      format: 'png',
      width: 640,
      height: 427,
      channels: 1,
    });
    expect(run.stderr).toContain('3 done, 5 failed');
  });

  it('gives the same bytes for the same image', async () => {
    const dir = await temporaryFolder();
    const digests: string[][] = [];
    for (const out of ['one', 'two']) {
      const output = path.join(dir, out);
      const run = await start([
        'infer',
        IMAGES,
        '--output',
        output,
        '--format',
        'png,npy',
        ...QUICK,
      ]);
      expect(run).toMatchObject({ exitCode: 0 });
      const files = (await readdir(output)).filter((file) => file !== LEDGER).toSorted();
      expect(files).toHaveLength(8);
      digests.push(await Promise.all(files.map((file) => digest(path.join(output, file)))));
    }
    expect(digests[0]).toEqual(digests[1]);
  });

  it('never overwrites an input, and tells apart what has the same name', async () => {
    const dir = await temporaryFolder();
    await copyFile(path.join(IMAGES, 'shapes.png'), path.join(dir, 'a.png'));
    await copyFile(path.join(IMAGES, 'corridor.jpg'), path.join(dir, 'a.jpg'));
    const before = await digest(path.join(dir, 'a.png'));
    const run = await start(['infer', 'a.jpg', 'a.png', '-o', '.', ...QUICK], {}, dir);
    expect(run.exitCode).toBe(0);
    expect(run.stdout).toContain('a.jpg -> a-2.png');
    expect(run.stdout).toContain('a.png -> a-3.png');
    expect((await readdir(dir)).toSorted()).toEqual(
      [LEDGER, 'a-2.png', 'a-3.png', 'a.jpg', 'a.png'].toSorted(),
    );
    expect(await digest(path.join(dir, 'a.png'))).toBe(before);
  });

  it('overwrites no input that is a link either, nor one whose folder is reached by a link', async () => {
    const dir = await temporaryFolder();
    await mkdir(path.join(dir, 'in'));
    await mkdir(path.join(dir, 'out'));
    const original = path.join(dir, 'in', 'a.png');
    await copyFile(path.join(IMAGES, 'shapes.png'), original);
    await symlink(original, path.join(dir, 'out', 'b.png'));
    await symlink(path.join(dir, 'in'), path.join(dir, 'link'));
    const linked = await start(['infer', 'out/b.png', '-o', 'out', ...QUICK], {}, dir);
    expect(linked.stdout).toContain('out/b.png -> out/b-2.png');
    const through = await start(['infer', 'in/a.png', '-o', 'link', ...QUICK], {}, dir);
    expect(through.stdout).toContain('in/a.png -> link/a-2.png');
    expect(await digest(original)).toBe(await digest(path.join(IMAGES, 'shapes.png')));
  });

  it('skips what is done, without a model, and computes again what is asked for in another way', async () => {
    const dir = await temporaryFolder();
    await mkdir(path.join(dir, 'photos', 'sub'), { recursive: true });
    await copyFile(path.join(IMAGES, 'balls.png'), path.join(dir, 'photos', 'a.png'));
    await copyFile(path.join(IMAGES, 'shapes.png'), path.join(dir, 'photos', 'sub', 'a.png'));
    const run = async (...flags: string[]) =>
      await start(['infer', 'photos', '-o', 'maps', ...flags], NO_MODEL, dir);
    const first = await start(
      ['infer', 'photos', '-o', 'maps', '--contact-sheet', ...QUICK],
      {},
      dir,
    );
    expect(first.exitCode).toBe(0);
    expect(first.stderr).toContain('2 done, 0 failed');
    const sheet = path.join(dir, 'maps', 'contact-sheet.png');
    const seen = await digest(sheet);
    // Two rows of pictures that are 320 wide and 240 high, with 8 around each.
    expect(await sharp(sheet).metadata()).toMatchObject({ width: 992, height: 504 });

    const again = await run('--contact-sheet', '--json', ...QUICK);
    expect(again).toMatchObject({ exitCode: 0 });
    expect(again.stderr).toContain('0 done, 2 skipped, 0 failed');
    const skipped = { ok: true, skipped: true, polarity: 'near-bright' };
    expect(rows(again.stdout)).toEqual([
      { ...skipped, input: 'photos/a.png', outputs: ['maps/a.png'] },
      { ...skipped, input: 'photos/sub/a.png', outputs: ['maps/sub/a.png'] },
    ]);
    expect(await digest(sheet)).toBe(seen);

    // What cannot be had is a model, and so it was asked for.
    for (const other of [['--force'], ['--normalize', 'none'], ['--format', 'npy']]) {
      expect(await run(...other, ...QUICK)).toMatchObject({ exitCode: 1, stdout: '' });
    }
    await copyFile(path.join(IMAGES, 'shapes.png'), path.join(dir, 'photos', 'a.png'));
    const rest = await start(['infer', 'photos', '-o', 'maps', ...QUICK], {}, dir);
    expect(rest.stdout).toContain('photos/a.png -> maps/a.png');
    expect(rest.stderr).toContain('1 done, 1 skipped, 0 failed');
  });

  it('goes on where it was after it was killed', async () => {
    const dir = await temporaryFolder();
    await mkdir(path.join(dir, 'photos'));
    const names = ['1.png', '2.png', '3.png', '4.png'];
    for (const name of names) {
      await copyFile(path.join(IMAGES, 'balls.png'), path.join(dir, 'photos', name));
    }
    const args = ['infer', 'photos', '-o', 'maps', ...QUICK];
    const killed = start(args, {}, dir);
    const lines: string[] = [];
    for await (const line of killed) {
      lines.push(line);
      killed.kill('SIGKILL');
    }
    expect(await killed).toMatchObject({ signal: 'SIGKILL' });
    const again = await start([...args, '--json'], {}, dir);
    expect(again).toMatchObject({ exitCode: 0 });
    const found = rows(again.stdout);
    const skipped = found.filter((row) => row.skipped === true).map(({ input }) => input);
    expect(skipped).toContain('photos/1.png');
    expect(skipped.length).toBeGreaterThanOrEqual(lines.length);
    expect(found.map(({ input }) => input)).toEqual(names.map((name) => `photos/${name}`));
    const maps = (await readdir(path.join(dir, 'maps'))).filter((file) => !file.startsWith('.'));
    expect(maps.toSorted()).toEqual(names);
  });

  it('takes an image from standard input and writes its map to standard output', async () => {
    const dir = await temporaryFolder();
    const image = path.join(IMAGES, 'balls.png');
    const input = await readFile(image);
    const map = await filter(['infer', '-', ...QUICK], input, dir);
    expect(map.exitCode).toBe(0);
    expect(Buffer.from(map.stderr).toString()).toContain('1 done, 0 failed');
    const flags = ['--output', '-', '--format', 'npy', ...QUICK];
    const floats = await filter(['infer', image, ...flags], new Uint8Array(), dir);
    expect(await readdir(dir)).toEqual([]);

    const files = await filter(
      ['infer', '-', '-o', 'maps', '--format', 'npy', ...QUICK],
      input,
      dir,
    );
    expect(Buffer.from(files.stdout).toString()).toContain('- -> maps/stdin.png, maps/stdin.npy');
    const saved = async (name: string) => await readFile(path.join(dir, 'maps', name));
    expect((await saved('stdin.png')).equals(map.stdout)).toBe(true);
    expect((await saved('stdin.npy')).equals(floats.stdout)).toBe(true);
    expect(await readdir(path.join(dir, 'maps'))).not.toContain(LEDGER);
  });

  it('is interrupted when nobody reads standard output, where the map is to go', async () => {
    const running = start(['infer', path.join(IMAGES, 'balls.png'), '-o', '-', ...QUICK]);
    running.stdout.destroy();
    const { exitCode, stderr } = await running;
    expect(exitCode).toBe(130);
    expect(stderr).toContain('interrupted');
  });

  it.runIf(existsSync('/dev/full'))('says so when standard output cannot be written', async () => {
    const command = (...args: string[]) => {
      const line = [process.execPath, MAIN, ...args].map((part) => `'${part}'`).join(' ');
      const env = { LOTUS_SAMPLE: '1' };
      return execa('sh', ['-c', `${line} > /dev/full`], { reject: false, stdin: 'ignore', env });
    };
    const run = await command('infer', path.join(IMAGES, 'balls.png'), '-o', '-', ...QUICK);
    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain('error: Cannot write: ENOSPC');
    expect(run.stderr).not.toContain('    at ');
    expect(await command('completion', 'bash')).toMatchObject({ exitCode: 1 });
  });

  it('mirrors folders, and never writes through a link that lies in the way', async () => {
    const dir = await temporaryFolder();
    await mkdir(path.join(dir, 'photos', 'linked'), { recursive: true });
    await mkdir(path.join(dir, 'photos', 'sub'));
    await copyFile(path.join(IMAGES, 'balls.png'), path.join(dir, 'photos', 'sub', 'a.png'));
    await copyFile(path.join(IMAGES, 'balls.png'), path.join(dir, 'photos', 'linked', 'a.png'));
    await mkdir(path.join(dir, 'maps'));
    await mkdir(path.join(dir, 'elsewhere'));
    await symlink(path.join(dir, 'elsewhere'), path.join(dir, 'maps', 'linked'));
    const run = await start(['infer', 'photos', '-o', 'maps', ...QUICK], {}, dir);
    expect(run.exitCode).toBe(1);
    expect(run.stdout).toContain('photos/sub/a.png -> maps/sub/a.png');
    expect(await readdir(path.join(dir, 'maps', 'sub'))).toEqual(['a.png']);
    expect(run.stderr).toContain('linked is no folder of ours, but a link or a file');
    expect(await readdir(path.join(dir, 'elsewhere'))).toEqual([]);
  });

  it('ends in order when nobody reads its rows any more', async () => {
    const dir = await temporaryFolder();
    const scratch = await scratchFolder();
    const many = Array.from({ length: 20 }, (_, i) => path.join(dir, `image-${i}.png`));
    await Promise.all(many.map((file) => copyFile(path.join(IMAGES, 'balls.png'), file)));
    const args = ['infer', ...many, '--json', '-o', path.join(dir, 'out')];
    const running = start(args, { LOTUS_SCRATCH_DIR: scratch });
    running.stdout.once('data', () => running.stdout.destroy());
    expect((await running).exitCode).toBe(130);
    expect(await readdir(scratch)).toEqual([]);
    expect((await readdir(path.join(dir, 'out'))).length).toBeLessThan(20);
  });

  it('loads no model when there is nothing to run it on', async () => {
    const run = await start(['infer', '/no/such/image.jpg'], { LOTUS_UPSTREAM_DIR: '/nowhere' });
    expect(run).toMatchObject({ exitCode: 1, stdout: '' });
    expect(run.stderr).toContain('/no/such/image.jpg: No such file or folder');
  });

  it.each(['SIGINT', 'SIGTERM'] as const)(
    'ends in order at %s: exit code 130, no scratch, no half-written file',
    async (signal) => {
      const dir = await temporaryFolder();
      const scratch = await scratchFolder();
      const many = Array.from({ length: 40 }, (_, i) => path.join(dir, `image-${i}.png`));
      await Promise.all(many.map((file) => copyFile(path.join(IMAGES, 'balls.png'), file)));
      const out = path.join(dir, 'out');
      const running = start(['infer', ...many, '--output', out], { LOTUS_SCRATCH_DIR: scratch });
      let sent = false;
      for await (const line of running) {
        if (sent || !line.includes('image-1')) continue;
        sent = running.kill(signal); // in the middle of the next; a second one would exit at once
      }
      const { exitCode, stderr } = await running;
      expect(exitCode).toBe(130);
      expect(stderr).toContain('interrupted');
      expect(await readdir(scratch)).toEqual([]);
      const files = (await readdir(out)).filter((file) => file !== LEDGER);
      expect(files.every((file) => /^image-\d+\.png$/.test(file))).toBe(true);
    },
  );
});
