import { execaNode } from 'execa';
import realSharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { sharp } from '../../src/image/libvips.ts';
import { KINDS } from '../corpus/images/kinds.ts';
import { jpeg, lossless, picture, png, webp } from '../corpus/images/sources.ts';

describe("libvips' loaders", () => {
  it.each(Object.entries({ jpeg, png, webp, lossless }))('read a %s', async (_name, bytes) => {
    const { info } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width: 48, height: 32, channels: 3 });
  });

  it.each(KINDS)('do not read $name', async ({ bytes }) => {
    await expect(sharp(bytes).metadata()).rejects.toThrow('unsupported image format');
  });

  it('are those that a process without the block has for a GIF, a TIFF and an SVG', async () => {
    const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>';
    const files = [await picture().gif().toBuffer(), await picture().tiff().toBuffer(), svg];
    const script = `
      import sharp from 'sharp';
      for (const file of ${JSON.stringify(files.map((file) => Buffer.from(file).toString('base64')))}) {
        console.log((await sharp(Buffer.from(file, 'base64')).metadata()).format);
      }`;
    const { stdout } = await execaNode({ nodeOptions: ['--input-type=module'] })('-', {
      input: script,
    });
    expect(stdout.split('\n')).toEqual(['gif', 'tiff', 'svg']);
  });

  it('read no files, whoever asks', async () => {
    await expect(realSharp('test/fixtures/images/balls.png').metadata()).rejects.toThrow();
  });

  it('leave raw pixels and the encoders alone', async () => {
    const bytes = await picture().png().toBuffer();
    expect((await sharp(bytes).metadata()).format).toBe('png');
  });
});
