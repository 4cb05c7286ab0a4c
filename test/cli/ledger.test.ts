import {
  appendFile,
  mkdir,
  mkdtemp,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type How, LEDGER, Ledger, ofThePicture } from '../../src/cli/ledger.ts';
import { parseJobOptions } from '../../src/job/schema.ts';

let dir = '';

beforeEach(async () => {
  dir = await realpath(await mkdtemp(path.join(os.tmpdir(), 'ledger-test-')));
  await mkdir(at('maps'));
  for (const name of ['a.jpg', 'b.jpg', 'maps/a.png', 'maps/a.npy', 'maps/b.png']) {
    await writeFile(at(name), name);
  }
});

afterEach(() => rm(dir, { recursive: true, force: true }));

const at = (name: string) => path.join(dir, name);
const open = () => Ledger.open(at('maps'));

const MODEL = { id: 'm', revision: '1', prediction: 'disparity', dtype: 'auto', upstream: null };
const HOW: How = { options: parseJobOptions({ seed: 3 }), model: MODEL };

/** Write down that files were made of an image. */
async function made(input: string, outputs: readonly string[], how = HOW): Promise<void> {
  const ledger = await open();
  await ledger.add({
    input: await ledger.know(at(input)),
    outputs: await Promise.all(outputs.map((output) => ledger.know(at(output)))),
    options: ofThePicture(how.options),
    model: { ...how.model },
    polarity: 'near-bright',
  });
}

/** Whether all files of an image are known to be as they would be made. */
async function isDone(input: string, outputs: readonly string[], how = HOW): Promise<boolean> {
  return (await (await open()).find(at(input), outputs.map(at), how)) !== null;
}

describe('what was made', () => {
  it('is known to a later run, with what a contact sheet needs', async () => {
    expect(await isDone('a.jpg', ['maps/a.png'])).toBe(false);
    await made('a.jpg', ['maps/a.png', 'maps/a.npy']);
    await made('b.jpg', ['maps/b.png']);
    expect(await isDone('a.jpg', ['maps/a.png', 'maps/a.npy'])).toBe(true);
    expect(await isDone('a.jpg', ['maps/a.png'])).toBe(true);
    expect(await isDone('b.jpg', ['maps/b.png'])).toBe(true);
    const found = await (await open()).find(at('b.jpg'), [at('maps/b.png')], HOW);
    expect(found?.polarity).toBe('near-bright');
  });

  it('is known after all of it has been moved', async () => {
    await made('a.jpg', ['maps/a.png']);
    const moved = `${dir}-moved`;
    await rename(dir, moved);
    dir = moved;
    expect(await isDone('a.jpg', ['maps/a.png'])).toBe(true);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['a map is gone', () => rm(at('maps/a.png'))],
    ['a map is another one', () => writeFile(at('maps/a.png'), 'other')],
    ['a map was written since', () => utimes(at('maps/a.png'), 1, 1)],
    ['the image is another one of the same time', () => replaceInPlace('a.jpg')],
    ['the image was written since', () => utimes(at('a.jpg'), 1, 1)],
    ['the name has gone to another image', () => made('b.jpg', ['maps/a.png'])],
  ])('is not taken for done when %s', async (_what, change) => {
    await made('a.jpg', ['maps/a.png', 'maps/a.npy']);
    await change();
    expect(await isDone('a.jpg', ['maps/a.png', 'maps/a.npy'])).toBe(false);
  });

  it.each<[string, How]>([
    ['another option', { ...HOW, options: parseJobOptions({ seed: 4 }) }],
    ['another revision', { ...HOW, model: { ...MODEL, revision: '2' } }],
    ['another model', { ...HOW, model: { ...MODEL, id: 'n' } }],
  ])('does not do for %s', async (_what, how) => {
    await made('a.jpg', ['maps/a.png']);
    expect(await isDone('a.jpg', ['maps/a.png'], how)).toBe(false);
  });

  it('does not do for a format that was not made then, whoever made it before', async () => {
    await made('a.jpg', ['maps/a.png', 'maps/a.npy']);
    const how = { ...HOW, options: parseJobOptions({ seed: 4 }) };
    await made('a.jpg', ['maps/a.png'], how);
    expect(await isDone('a.jpg', ['maps/a.png'], how)).toBe(true);
    expect(await isDone('a.jpg', ['maps/a.png', 'maps/a.npy'], how)).toBe(false);
    expect(await isDone('a.jpg', ['maps/a.png', 'maps/a.npy'])).toBe(false);
  });

  it('keeps its names from other images, for as long as its own is there', async () => {
    await made('a.jpg', ['maps/a.png']);
    const ledger = await open();
    expect(ledger.isOfAnother(at('maps/a.png'), at('b.jpg'))).toBe(true);
    expect(ledger.isOfAnother(at('maps/A.PNG'), at('b.jpg'))).toBe(true);
    expect(ledger.isOfAnother(at('maps/a.png'), at('a.jpg'))).toBe(false);
    expect(ledger.isOfAnother(at('maps/b.png'), at('a.jpg'))).toBe(false);
    await rm(at('a.jpg'));
    expect(ledger.isOfAnother(at('maps/a.png'), at('b.jpg'))).toBe(false);
  });

  it('survives half a line that a killed run has left, and lines of others', async () => {
    await made('a.jpg', ['maps/a.png']);
    await appendFile(at(`maps/${LEDGER}`), '{"later":"version"}\n\n{"input":{"fi');
    await made('b.jpg', ['maps/b.png']);
    expect(await isDone('a.jpg', ['maps/a.png'])).toBe(true);
    expect(await isDone('b.jpg', ['maps/b.png'])).toBe(true);
  });

  it('counts when a later version has more options, which were as they are by default', async () => {
    await made('a.jpg', ['maps/a.png']);
    const file = at(`maps/${LEDGER}`);
    const text = await readFile(file, 'utf8');
    expect(text).toContain('"timestep":999,');
    await writeFile(file, text.replace('"timestep":999,', ''));
    expect(await isDone('a.jpg', ['maps/a.png'])).toBe(true);
    await writeFile(file, text.replace('"timestep":999,', '"timestep":1,'));
    expect(await isDone('a.jpg', ['maps/a.png'])).toBe(false);
  });

  it('is not looked for behind a link, nor in a folder, and says so', async () => {
    await symlink(at('a.jpg'), at(`maps/${LEDGER}`));
    await expect(open()).rejects.toMatchObject({
      name: 'UsageError',
      message: expect.stringContaining(`Remove ${at(`maps/${LEDGER}`)}`),
    });
    await rm(at(`maps/${LEDGER}`));
    await mkdir(at(`maps/${LEDGER}`));
    await expect(open()).rejects.toMatchObject({ name: 'UsageError' });
  });
});

/** Another content of another size, and the time that it had. */
async function replaceInPlace(name: string): Promise<void> {
  const { atime, mtime } = await stat(at(name));
  await writeFile(at(name), 'something else');
  await utimes(at(name), atime, mtime);
}
