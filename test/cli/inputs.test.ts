import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findImages } from '../../src/cli/inputs.ts';

let dir = '';

beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'inputs-test-'));
});

afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

const at = (...names: string[]) => path.join(dir, ...names);

/** Make empty files, with their folders. Nobody looks into them here. */
async function make(...names: string[]): Promise<void> {
  for (const name of names) {
    await mkdir(path.dirname(at(name)), { recursive: true });
    await writeFile(at(name), '');
  }
}

/** What was found, as paths below the folder of the test. */
async function find(paths: string[], outputDir = at('depth')): Promise<string[]> {
  const inputs = await findImages(paths, outputDir);
  return inputs.map((input) => {
    expect(input).not.toHaveProperty('error');
    return path.relative(dir, input.file);
  });
}

describe('findImages', () => {
  it('gives a file as it was named', async () => {
    await make('a.jpg');
    expect(await findImages([at('a.jpg')], at('depth'))).toEqual([
      { file: at('a.jpg'), folder: '' },
    ]);
    const relative = path.relative('', at('a.jpg'));
    expect(await findImages([relative], at('depth'))).toEqual([{ file: relative, folder: '' }]);
  });

  it('keeps the order in which files are named', async () => {
    await make('a.jpg', 'b.jpg', 'c.jpg');
    expect(await find([at('c.jpg'), at('a.jpg'), at('b.jpg')])).toEqual([
      'c.jpg',
      'a.jpg',
      'b.jpg',
    ]);
  });

  it('takes JPEG, PNG and WebP out of a folder, whatever the case of their extensions', async () => {
    await make('a.jpg', 'b.jpeg', 'c.png', 'd.webp', 'e.JPG', 'f.Png');
    expect(await find([dir])).toEqual(['a.jpg', 'b.jpeg', 'c.png', 'd.webp', 'e.JPG', 'f.Png']);
  });

  it('leaves everything else in a folder', async () => {
    await make('a.jpg', 'b.gif', 'c.txt', 'd', 'e.jpg.bak', 'jpg');
    expect(await find([dir])).toEqual(['a.jpg']);
  });

  it.each(['a.gif', 'a', 'a.jpg.bak', '.hidden.jpg'])('takes %s when it is named', async (name) => {
    await make(name);
    expect(await find([at(name)])).toEqual([name]);
  });

  it('goes through a folder in natural order, the folders below it in their places', async () => {
    await make('10.jpg', '9.jpg', '1.jpg', '2/b.jpg', '2/a.jpg', '2/deep/er/c.jpg');
    expect(await find([dir])).toEqual([
      '1.jpg',
      '2/a.jpg',
      '2/b.jpg',
      '2/deep/er/c.jpg',
      '9.jpg',
      '10.jpg',
    ]);
  });

  it('knows the folder of each, seen from the one that was named', async () => {
    await make('in/a.jpg', 'in/x/b.jpg', 'in/x/y/c.jpg');
    const folders = async (...paths: string[]) =>
      (
        await findImages(
          paths.map((name) => at(name)),
          at('depth'),
        )
      ).map((input) => ('folder' in input ? input.folder : null));
    expect(await folders('in')).toEqual(['', 'x', path.join('x', 'y')]);
    expect(await folders('in/x')).toEqual(['', 'y']);
    expect(await folders('in/x/y/c.jpg')).toEqual(['']);
  });

  it('leaves out what is hidden', async () => {
    await make('a.jpg', '.b.jpg', '.git/c.jpg', 'd/.e.jpg');
    expect(await find([dir])).toEqual(['a.jpg']);
  });

  it('leaves out the output folder, so that it does not read its own maps', async () => {
    await make('a.jpg', 'depth/a.png', 'depth/more/b.png', 'sub/depth/c.png');
    expect(await find([dir])).toEqual(['a.jpg', 'sub/depth/c.png']);
    expect(await find([dir], path.relative('', at('depth')))).toEqual(['a.jpg', 'sub/depth/c.png']);
  });

  it('takes a file in the output folder when it is named', async () => {
    await make('depth/a.png');
    expect(await find([at('depth/a.png')])).toEqual(['depth/a.png']);
  });

  it.each([
    ['the same path', () => at('sub/a.jpg')],
    ['another way of writing it', () => `${dir}/sub/../sub/./a.jpg`],
    ['a relative path', () => path.relative('', at('sub/a.jpg'))],
    ['its folder', () => at('sub')],
    ['a link to it', () => at('link.jpg')],
    ['a link to its folder', () => at('linked')],
  ])('gives a file once that is named again by %s', async (_how, again) => {
    await make('sub/a.jpg');
    await symlink(at('sub/a.jpg'), at('link.jpg'));
    await symlink(at('sub'), at('linked'));
    expect(await find([at('sub/a.jpg'), again()])).toEqual(['sub/a.jpg']);
  });

  it('gives two files of the same content both', async () => {
    await make('a.jpg', 'b.jpg');
    expect(await find([at('a.jpg'), at('b.jpg')])).toEqual(['a.jpg', 'b.jpg']);
  });

  it('does not follow a link to a folder, which may lead round in a circle', async () => {
    await make('sub/a.jpg');
    await symlink(dir, at('sub/circle'));
    expect(await find([dir])).toEqual(['sub/a.jpg']);
  });

  it('gives a path that is missing with its error', async () => {
    const missing = at('no.jpg');
    expect(await findImages([missing], at('depth'))).toEqual([
      {
        file: missing,
        error: expect.objectContaining({
          name: 'LotusError',
          code: 'no_image',
          message: `No such file or folder: ${missing}`,
        }),
      },
    ]);
  });

  it('gives a path through a file with its error', async () => {
    await make('a.jpg');
    const [input] = await findImages([at('a.jpg/b.jpg')], at('depth'));
    expect(input).toMatchObject({ file: at('a.jpg/b.jpg'), error: { code: 'no_image' } });
  });

  it.each([
    ['is empty', []],
    ['has no image in it', ['sub/notes.txt']],
    ['has only hidden images in it', ['sub/.a.jpg']],
  ])('gives a folder that %s with its error', async (_how, names) => {
    await mkdir(at('sub'));
    await make(...names);
    expect(await findImages([at('sub')], at('depth'))).toEqual([
      {
        file: at('sub'),
        error: expect.objectContaining({
          code: 'no_image',
          message: `No JPEG, PNG or WebP file in ${at('sub')}.`,
        }),
      },
    ]);
  });

  it('goes on behind a path that is missing', async () => {
    await make('a.jpg', 'b.jpg');
    const inputs = await findImages([at('a.jpg'), at('no.jpg'), at('b.jpg')], at('depth'));
    expect(inputs.map(({ file }) => path.basename(file))).toEqual(['a.jpg', 'no.jpg', 'b.jpg']);
    expect(inputs.map((input) => 'error' in input)).toEqual([false, true, false]);
  });

  it('finds nothing where nothing is named', async () => {
    expect(await findImages([], at('depth'))).toEqual([]);
  });

  it('knows the output folder by a link too', async () => {
    await make('photos/a.jpg', 'photos/depth/a.png');
    await symlink(at('photos'), at('link'));
    expect(await find([at('link')], at('photos/depth'))).toEqual(['link/a.jpg']);
  });
});
