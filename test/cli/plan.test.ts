import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findImages } from '../../src/cli/inputs.ts';
import { Ledger } from '../../src/cli/ledger.ts';
import { planOutputs } from '../../src/cli/plan.ts';
import type { OutputFormat } from '../../src/job/schema.ts';

let dir = '';

beforeEach(async () => {
  dir = await realpath(await mkdtemp(path.join(os.tmpdir(), 'plan-test-')));
});

afterEach(() => rm(dir, { recursive: true, force: true }));

const at = (...names: string[]) => path.join(dir, ...names);

/** Make empty files, with their folders. Nobody looks into them here. */
async function make(...names: string[]): Promise<void> {
  for (const name of names) {
    await mkdir(path.dirname(at(name)), { recursive: true });
    await writeFile(at(name), '');
  }
}

/** Where the files of each input go, as paths below the folder of the test. */
async function plan(
  inputs: string[],
  output = 'maps',
  formats: OutputFormat[] = ['png'],
): Promise<Record<string, string[]>> {
  await mkdir(at(output), { recursive: true });
  const real = await realpath(at(output));
  const found = await findImages(
    inputs.map((input) => at(input)),
    real,
  );
  const relative = (file: string) => path.relative(dir, file);
  const place = { output: real, ledger: await Ledger.open(real), reserved: [] };
  return Object.fromEntries(
    (await planOutputs(found, formats, place)).map((task) => [
      relative(task.file),
      'paths' in task ? task.paths.map(relative) : [],
    ]),
  );
}

describe('planOutputs', () => {
  it('puts what lies below a folder into the same folders below the output folder', async () => {
    await make('photos/a.jpg', 'photos/sub/a.jpg', 'photos/sub/deep/b.png', 'elsewhere/c.jpg');
    expect(await plan(['photos', 'elsewhere/c.jpg'])).toEqual({
      'photos/a.jpg': ['maps/a.png'],
      'photos/sub/a.jpg': ['maps/sub/a.png'],
      'photos/sub/deep/b.png': ['maps/sub/deep/b.png'],
      'elsewhere/c.jpg': ['maps/c.png'],
    });
  });

  it('tells apart what would have one name, and all formats of an image go together', async () => {
    await make('photos/a.jpg', 'photos/a.png', 'photos/b.jpg');
    expect(await plan(['photos'], 'maps', ['png', 'npy'])).toEqual({
      'photos/a.jpg': ['maps/a.png', 'maps/a.npy'],
      'photos/a.png': ['maps/a-2.png', 'maps/a-2.npy'],
      'photos/b.jpg': ['maps/b.png', 'maps/b.npy'],
    });
  });

  it('gives the same names whatever the order in which images are named', async () => {
    await make('x/a.jpg', 'x/a.png', 'y/a.jpg');
    const one = await plan(['x/a.jpg', 'x/a.png', 'y/a.jpg']);
    expect(one).toEqual({
      'x/a.jpg': ['maps/a.png'],
      'x/a.png': ['maps/a-2.png'],
      'y/a.jpg': ['maps/a-3.png'],
    });
    expect(await plan(['y/a.jpg', 'x/a.png', 'x/a.jpg'])).toEqual(one);
    expect(await plan(['y', 'x'])).toEqual(one);
  });

  it('never names the path of an input, nor of what an input leads to', async () => {
    await make('maps/a.png', 'in/b.png');
    await symlink(at('in', 'b.png'), at('maps', 'b.png'));
    await symlink(at('maps'), at('link'));
    const all = { 'maps/a.png': ['maps/a-2.png'], 'maps/b.png': ['maps/b-2.png'] };
    expect(await plan(['maps/a.png', 'maps/b.png'])).toEqual(all);
    expect(await plan(['maps/a.png', 'maps/b.png'], 'link')).toEqual(all);
    expect(await plan(['maps/b.png'], 'in')).toEqual({ 'maps/b.png': ['in/b-2.png'] });
  });

  it('leaves alone what was made of another image that is still there', async () => {
    await make('x/a.jpg', 'y/a.jpg', 'maps/a.png');
    const ledger = await Ledger.open(at('maps'));
    await ledger.add({
      input: await ledger.know(at('x/a.jpg')),
      outputs: [await ledger.know(at('maps/a.png'))],
      options: {},
      model: {},
      polarity: 'near-bright',
    });
    expect(await plan(['y/a.jpg'])).toEqual({ 'y/a.jpg': ['maps/a-2.png'] });
    expect(await plan(['x/a.jpg'])).toEqual({ 'x/a.jpg': ['maps/a.png'] });
    await rm(at('x/a.jpg'));
    expect(await plan(['y/a.jpg'])).toEqual({ 'y/a.jpg': ['maps/a.png'] });
  });

  it('has no path for what is no image', async () => {
    await make('a.jpg');
    expect(await plan(['missing.jpg', 'a.jpg'])).toEqual({
      'missing.jpg': [],
      'a.jpg': ['maps/a.png'],
    });
  });
});
