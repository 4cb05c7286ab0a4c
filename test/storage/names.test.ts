import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fileStem, OutputNames, safeFileName } from '../../src/storage/names.ts';

const reserveAll = (names: OutputNames, ...inputs: string[]) =>
  inputs.flatMap((input) => names.reserve(input, ['.png']));

describe('OutputNames', () => {
  it('names an output after its input, in its own folder', () => {
    const names = new OutputNames('/out', []);
    expect(names.reserve('/in/photo.jpg', ['.png'])).toEqual(['/out/photo.png']);
  });

  it('takes only the last extension off', () => {
    const names = new OutputNames('/out', []);
    expect(reserveAll(names, 'a.b.jpeg', 'c', '.d')).toEqual([
      '/out/a.b.png',
      '/out/c.png',
      '/out/.d.png',
    ]);
  });

  it('numbers those that would share a name', () => {
    const names = new OutputNames('/out', []);
    expect(reserveAll(names, 'one/photo.jpg', 'two/photo.png', 'photo.webp')).toEqual([
      '/out/photo.png',
      '/out/photo-2.png',
      '/out/photo-3.png',
    ]);
  });

  it('numbers around an input that is called like a numbered one', () => {
    const names = new OutputNames('/out', []);
    expect(reserveAll(names, 'photo.jpg', 'photo-2.jpg', 'x/photo.jpg', 'x/photo-2.jpg')).toEqual([
      '/out/photo.png',
      '/out/photo-2.png',
      '/out/photo-3.png',
      '/out/photo-2-2.png',
    ]);
  });

  it('never gives out the path of an input', () => {
    const names = new OutputNames('/photos', ['/photos/a.png', '/photos/a-2.png']);
    expect(names.reserve('/photos/a.png', ['.png'])).toEqual(['/photos/a-3.png']);
  });

  it('does not mind an input of that name in another folder', () => {
    const names = new OutputNames('/out', ['/photos/a.png']);
    expect(names.reserve('/photos/a.png', ['.png'])).toEqual(['/out/a.png']);
  });

  it('takes names for the same that differ in case only', () => {
    const names = new OutputNames('/Out', ['/out/Photo.PNG']);
    expect(reserveAll(names, 'photo.jpg', 'PHOTO.jpg')).toEqual([
      '/Out/photo-2.png',
      '/Out/PHOTO-3.png',
    ]);
  });

  it('takes names for the same that differ in their Unicode form only', () => {
    const names = new OutputNames('/out', []);
    const [composed, decomposed] = ['é.jpg'.normalize('NFC'), 'é.jpg'.normalize('NFD')];
    expect(composed).not.toBe(decomposed);
    expect(reserveAll(names, composed, decomposed)).toEqual([
      `/out/${'é'.normalize('NFC')}.png`,
      `/out/${'é'.normalize('NFD')}-2.png`,
    ]);
  });

  it('gives all files of an input the same number', () => {
    const names = new OutputNames('/out', ['/out/a.npy']);
    expect(names.reserve('a.jpg', ['.png', '.npy'])).toEqual(['/out/a-2.png', '/out/a-2.npy']);
    expect(names.reserve('b/a.jpg', ['.npy', '.png'])).toEqual(['/out/a-3.npy', '/out/a-3.png']);
  });

  it('does not mind a taken name with another suffix', () => {
    const names = new OutputNames('/out', ['/out/a.npy']);
    expect(names.reserve('a.jpg', ['.png'])).toEqual(['/out/a.png']);
  });

  it('puts a suffix behind the name, and tells apart what it makes alike', () => {
    const names = new OutputNames('/out', []);
    expect(names.reserve('a.jpg', ['.png', '.16bit.png'])).toEqual([
      '/out/a.png',
      '/out/a.16bit.png',
    ]);
    expect(names.reserve('a.16bit.jpg', ['.png'])).toEqual(['/out/a.16bit-2.png']);
  });

  it('goes into a folder below its own, where names are another matter', () => {
    const names = new OutputNames('/out', ['/out/sub/b.png']);
    expect(names.reserve('in/sub/a.jpg', ['.png'], { folder: 'sub' })).toEqual(['/out/sub/a.png']);
    expect(names.reserve('in/a.jpg', ['.png'])).toEqual(['/out/a.png']);
    expect(names.reserve('in/sub/a.png', ['.png'], { folder: 'sub' })).toEqual([
      '/out/sub/a-2.png',
    ]);
    expect(names.reserve('in/sub/b.jpg', ['.png'], { folder: 'sub' })).toEqual([
      '/out/sub/b-2.png',
    ]);
  });

  it('goes around what is taken from before', () => {
    const names = new OutputNames('/out', []);
    const isTaken = (file: string) => file === '/out/a.npy';
    expect(names.reserve('a.jpg', ['.png', '.npy'], { isTaken })).toEqual([
      '/out/a-2.png',
      '/out/a-2.npy',
    ]);
    expect(names.reserve('a.jpg', ['.png'], { isTaken })).toEqual(['/out/a.png']);
  });

  it('gives no path twice and none of an input, directly in the folder, whatever the inputs', () => {
    const name = fc.oneof(fc.constantFrom('a.png', 'A.jpg', 'a-2.png', 'b.npy'), fc.string());
    fc.assert(
      fc.property(fc.array(name), fc.array(name), (inputs, reserved) => {
        const given = inputs.map((input) => path.join('/out', input));
        const names = new OutputNames('/out', given);
        const paths = reserved.flatMap((input) => names.reserve(input, ['.png', '.npy']));
        const keys = new Set([...given, ...paths].map((file) => file.toLowerCase()));
        expect(keys.size).toBe(
          new Set(given.map((file) => file.toLowerCase())).size + paths.length,
        );
        for (const file of paths) expect(path.dirname(file)).toBe('/out');
      }),
    );
  });
});

describe('safeFileName', () => {
  it.each([
    'sync-4c3a1c7e-5f0a-4b1e-9c59-1f4a0f0b7b9e-u1',
    '4c3a1c7e-5f0a-4b1e-9c59-1f4a0f0b7b9e-e2',
    'job_1.final',
    'A',
  ])('leaves %s as it is', (id) => {
    expect(safeFileName(id)).toBe(id);
  });

  it.each([
    ['', /^.[0-9a-f]{12}$/],
    ['.', /^_.[0-9a-f]{12}$/],
    ['..', /^_\..[0-9a-f]{12}$/],
    ['.hidden', /^_hidden.[0-9a-f]{12}$/],
    ['../../etc/passwd', /^_\._\.\._etc_passwd.[0-9a-f]{12}$/],
    ['a/b', /^a_b.[0-9a-f]{12}$/],
    ['a\\b', /^a_b.[0-9a-f]{12}$/],
    ['C:\\x', /^C__x.[0-9a-f]{12}$/],
    ['a\0b', /^a_b.[0-9a-f]{12}$/],
    ['a b\n', /^a_b_.[0-9a-f]{12}$/],
    ['zażółć', /^za____.[0-9a-f]{12}$/],
  ])('makes %j harmless', (id, name) => {
    expect(safeFileName(id)).toMatch(name);
  });

  it('cuts what is long', () => {
    expect(safeFileName('a'.repeat(120))).toBe('a'.repeat(120));
    expect(safeFileName('a'.repeat(100_000))).toMatch(/^a{120}.[0-9a-f]{12}$/);
  });

  it('gives the same name for the same id', () => {
    expect(safeFileName('a/b')).toBe(safeFileName('a/b'));
  });

  it('gives two ids two names, also where they become alike', () => {
    const long = 'a'.repeat(120);
    const ids = ['a/b', 'a\\b', 'a b', 'a_b', '.b', '_b', '', '_', `${long}1`, `${long}2`, long];
    expect(new Set(ids.map(safeFileName)).size).toBe(ids.length);
  });

  /** Any UTF-16, halves of surrogate pairs too: JSON can say them. */
  const utf16 = fc
    .array(fc.oneof(fc.constantFrom(46, 47, 92, 0), fc.integer({ min: 0, max: 0xffff })))
    .map((units) => String.fromCharCode(...units));

  it('stays directly in its folder, in a name that file systems take, whatever the id', () => {
    fc.assert(
      fc.property(fc.oneof(utf16, fc.string({ maxLength: 400 })), (id) => {
        const name = `${safeFileName(id)}.png`;
        const file = path.join('/out', name);
        expect(path.dirname(file)).toBe('/out');
        expect(path.basename(file)).toBe(name);
        expect(name).toMatch(/^[A-Za-z0-9_~-][A-Za-z0-9_.~-]*$/);
        expect(name.length).toBeLessThan(256);
      }),
    );
  });

  it('gives different ids different names, whatever they are', () => {
    const alike = fc.array(fc.constantFrom('a', '_', '/', '.', ' ', 'é')).map((of) => of.join(''));
    fc.assert(
      fc.property(fc.uniqueArray(alike), (ids) => {
        expect(new Set(ids.map(safeFileName)).size).toBe(ids.length);
      }),
    );
  });

  it('tells apart ids that are not well-formed Unicode', () => {
    expect(safeFileName('\ud800')).not.toBe(safeFileName('\ud801'));
  });

  it('tells an id apart from one that is written like its name', () => {
    const name = safeFileName('a/b');
    expect(safeFileName(name)).not.toBe(name);
  });
});

describe('fileStem', () => {
  it('leaves the ids of the platform as they are', () => {
    const id = 'sync-4c3a1c7e-5f0a-4b1e-9c59-1f4a0f0b7b9e-u1';
    expect(fileStem(id)).toBe(id);
  });

  it('has no dot, so that no id has the file of another with a suffix', () => {
    expect(fileStem('a.color')).toMatch(/^a_color~[0-9a-f]{12}$/);
    expect(fileStem('../a')).toMatch(/^___a~[0-9a-f]{12}$/);
  });

  it('gives different ids different names, whatever they are', () => {
    const alike = fc.array(fc.constantFrom('a', '_', '/', '.', '~')).map((of) => of.join(''));
    fc.assert(
      fc.property(fc.uniqueArray(alike), (ids) => {
        expect(new Set(ids.map(fileStem)).size).toBe(ids.length);
        for (const id of ids) expect(fileStem(id)).toMatch(/^[\w~-]+$/);
      }),
    );
  });
});
