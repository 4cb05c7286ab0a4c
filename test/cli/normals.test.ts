import { readFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { SAMPLE_ROOT } from '../../src/app.ts';
import { IMAGES, rows, start, temporaryFolder } from './cli.ts';

/** The sample, as if it predicted normals: what it gives are none, and their way through the worker is the same. */
const NORMALS = {
  LOTUS_SAMPLE: '',
  LOTUS_UPSTREAM_DIR: path.join(SAMPLE_ROOT, 'upstream'),
  MODEL_ID: path.join(SAMPLE_ROOT, 'checkpoint'),
  LOTUS_MODEL_PREDICTION: 'normals',
};

describe('a model that predicts normals', () => {
  it('gives them in three channels, from 0 to 1, as RGB and as floats', async () => {
    const out = await temporaryFolder();
    const image = path.join(IMAGES, 'corridor.jpg');
    const flags = ['--processing-res', '128', '--format', 'png16,npy,exr', '--json'];
    const run = await start(['infer', image, '--output', out, ...flags], NORMALS);
    expect(run.exitCode).toBe(0);
    const [row] = rows(run.stdout);
    expect(row).toMatchObject({
      ok: true,
      prediction: 'normals',
      polarity: null,
      inverted: false,
      normalize: 'none',
      range: [0, 1],
    });
    const file = (name: string) => readFile(path.join(out, `corridor${name}`));
    const png = sharp(await file('.png'));
    expect(await png.metadata()).toMatchObject({ channels: 3, depth: 'uchar' });
    const png16 = sharp(await file('.16bit.png'));
    expect(await png16.metadata()).toMatchObject({ channels: 3, depth: 'ushort' });
    const npy = await file('.npy');
    const begin = 10 + npy.readUInt16LE(8);
    expect(npy.toString('latin1', 10, begin)).toContain("'shape': (427, 640, 3)");
    const floats = new Float32Array(
      npy.buffer.slice(npy.byteOffset + begin, npy.byteOffset + npy.length),
    );
    const wanted = floats.map((value) => Math.floor(Math.fround(value * 255)));
    expect((await png.raw().toBuffer()).equals(Uint8Array.from(wanted))).toBe(true);
  });

  it('refuses what cannot be shown of them', async () => {
    const image = path.join(IMAGES, 'corridor.jpg');
    const out = await temporaryFolder();
    const run = await start(['infer', image, '--output', out, '--disparity'], NORMALS);
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toContain('--disparity: true: this model predicts normals');
  });
});
