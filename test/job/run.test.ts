import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { APP_ROOT } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { runJob } from '../../src/job/run.ts';
import { provision } from '../../src/provision/provision.ts';
import { FOR_THE_MODEL } from '../../src/provision/steps.ts';
import { Secret } from '../../src/secret.ts';
import { outputFolder } from '../../src/storage/folders.ts';
import { Bounded } from '../../src/time/bounded.ts';
import { Model } from '../../src/worker/model.ts';
import { IMAGES } from '../cli/cli.ts';
import { recordingLog } from '../worker/programs.ts';

/** Jobs on the real Python process with the real torch, and the sample model. */
let model: Model;
let python = '';
let outputDir = '';
let photo = '';
beforeAll(async () => {
  const env = { ...process.env, LOTUS_SAMPLE: '1' };
  const config = readConfig(env);
  const { made } = await provision({ config, env, steps: FOR_THE_MODEL, observer: {} });
  model = await Model.start({ config, installation: made, env, log: recordingLog().log });
  python = made.python;
  outputDir = await mkdtemp(path.join(os.tmpdir(), 'run-test-'));
  photo = (await readFile(path.join(IMAGES, 'corridor.jpg'))).toString('base64');
});
afterAll(async () => {
  await model?.stop();
  await rm(outputDir, { recursive: true, force: true });
});

type Prediction = 'disparity' | 'depth';

function run(
  options: object,
  {
    id = 'job-1',
    prediction = 'disparity' as Prediction,
    signal = new AbortController().signal,
    folder = outputDir,
    makeOutputDir = async (): Promise<unknown> => null,
    waitMs = 60_000,
  } = {},
) {
  const input = { api_key: 'key', image_base64: photo, processing_res: 128, ...options };
  const { fetch, uploads } = readConfig({});
  const context = {
    apiKey: new Secret('key'),
    model,
    modelName: 'sample',
    prediction,
    outputDir: folder,
    makeOutputDir,
    saves: new Bounded({ waitMs, maxHanging: 1 }),
    fetch,
    uploads,
    maxAnswerBytes: 20_000_000,
    signal,
  };
  return runJob({ id, input }, context);
}

const floats = async (file: string | null | undefined) => {
  const bytes = await readFile(file ?? '');
  const start = 10 + bytes.readUInt16LE(8);
  return new Float32Array(
    bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + bytes.length),
  );
};

const pixels = (base64: string | null) =>
  sharp(Buffer.from(base64 ?? '', 'base64'))
    .toColourspace('b-w')
    .raw()
    .toBuffer();

describe('the answer', () => {
  it('has the picture and all that docs/job.md names', async () => {
    const answer = await run({});
    expect(answer).toEqual({
      image_base64: (await readFile(answer.file_path ?? '')).toString('base64'),
      file_path: path.join(outputDir, 'job-1.png'),
      min: expect.any(Number),
      max: expect.any(Number),
      width: 640,
      height: 427,
      processing_width: 128,
      processing_height: 80,
      model_id: 'sample',
      model_revision: null,
      prediction: 'disparity',
      polarity: 'near-bright',
      inverted: false,
      normalize: 'minmax',
      range: [answer.min, answer.max],
      seed: 0,
      ensemble_size: 1,
      dtype: 'float32',
      attention: 'sdpa',
      device: 'cpu',
      files: [
        {
          format: 'png',
          file_path: answer.file_path,
          content_type: 'image/png',
          bytes: (await readFile(answer.file_path ?? '')).length,
        },
      ],
      timings_ms: expect.objectContaining({ unet: expect.any(Number), total: expect.any(Number) }),
      warnings: [],
    });
  });

  it('has pixels that are the floor of 255 x the normalised value, and floats in the npy', async () => {
    const { image_base64, files, min, max } = await run({ output_formats: ['npy'] });
    expect(files.map((file) => file.format)).toEqual(['png', 'npy']);
    const map = await floats(files[1]?.file_path);
    const sorted = map.toSorted();
    expect([sorted.at(0), sorted.at(-1)]).toEqual([min, max]);
    const f = Math.fround; // it is computed in float32
    const wanted = map.map((value) => Math.floor(f(f(f(value - min) / f(max - min)) * 255)));
    expect((await pixels(image_base64)).equals(Uint8Array.from(wanted))).toBe(true);
  });

  it('has every format, and other libraries read from each what the npy has', async () => {
    const wanted = ['png16', 'npy', 'color', 'exr'];
    const { files, range } = await run({ output_formats: wanted }, { id: 'all' });
    expect(files.map(({ file_path }) => path.basename(file_path ?? ''))).toEqual([
      'all.png',
      'all.16bit.png',
      'all.npy',
      'all.color.png',
      'all.exr',
    ]);
    const script = path.join(APP_ROOT, 'test', 'fixtures', 'read_back.py');
    const stem = path.join(outputDir, 'all');
    const { stdout } = await execa(python, [script, stem, ...range.map(String)]);
    const { steps, ...found } = JSON.parse(stdout);
    expect(found).toEqual({ mode: 'I;16', exr: true, color: true });
    expect(steps).toBeLessThanOrEqual(0.5 + 1e-6);
  });

  it('gives files that the examples of docs/outputs.md read as they say', async () => {
    const answer = await run({ output_formats: ['png16', 'npy', 'exr'] }, { id: 'map' });
    await writeFile(path.join(outputDir, 'answer.json'), JSON.stringify(answer));
    const page = await readFile(path.join(APP_ROOT, 'docs', 'outputs.md'), 'utf8');
    const examples = [...page.matchAll(/^```python\n(.*?)^```/gms)].map(([, code]) => code);
    expect(examples).toHaveLength(4);
    const truth = `
truth = 1 / (0.5 * floats + 0.1)
points = [(0, 0), (10, 300), (200, 20), (400, 600), (300, 300)]
assert np.allclose(to_metres(floats, points, [truth[p] for p in points]), truth, rtol=1e-3)
print("read")`;
    const script = [...examples, truth].join('');
    const { stdout } = await execa(python, ['-c', script], { cwd: outputDir });
    expect(stdout).toBe('read');
  });

  it('has colours of the map that was asked for', async () => {
    const { files, image_base64 } = await run({ output_formats: ['color'], colormap: 'gray' });
    const shown = await sharp(await readFile(files[1]?.file_path ?? ''))
      .raw()
      .toBuffer();
    const grey = await pixels(image_base64);
    // One in 256 parts and the other in 255, both rounded down.
    const differences = grey.map((value, i) => (shown[3 * i] ?? 0) - value);
    expect([...new Set(differences)].toSorted()).toEqual([0, 1]);
  });

  it('is saved nowhere when the folder is a link out of the workspace, and given all the same', async () => {
    const workspace = path.join(outputDir, 'Lotus');
    const elsewhere = path.join(outputDir, 'elsewhere');
    await Promise.all([workspace, elsewhere].map((dir) => mkdir(dir)));
    const folder = path.join(workspace, 'output_images');
    await symlink(elsewhere, folder);
    const makeOutputDir = () => outputFolder(workspace);
    const { image_base64, file_path, files, warnings } = await run({}, { folder, makeOutputDir });
    expect(await readdir(elsewhere)).toEqual([]);
    expect([file_path, files]).toEqual([null, []]);
    expect(warnings).toEqual([expect.stringContaining('outside of')]);
    expect(image_base64).toMatch(/^iVBOR/);
  });

  it('is given when the volume does not answer, after a wait that ends', async () => {
    const makeOutputDir = () => new Promise<never>(() => {});
    const { image_base64, file_path, warnings } = await run({}, { makeOutputDir, waitMs: 50 });
    expect(image_base64).toMatch(/^iVBOR/);
    expect(file_path).toBe(null);
    expect(warnings).toEqual(['png is not saved: no answer in 0.05 s']);
  });

  it('has a file name that stays in the folder, whatever the id is', async () => {
    const { file_path } = await run({}, { id: '../../../tmp/escaped' });
    expect(path.dirname(file_path ?? '')).toBe(outputDir);
  });

  it('has the picture also where it cannot be saved, and says so', async () => {
    const folder = path.join(outputDir, 'in the way');
    await mkdir(path.join(folder, 'job-1.png', 'of somebody'), { recursive: true });
    const { image_base64, file_path, files, warnings } = await run({}, { folder });
    expect((await pixels(image_base64)).length).toBe(640 * 427);
    expect([file_path, files]).toEqual([null, []]);
    expect(warnings).toEqual([
      expect.stringMatching(/^png is not saved: Cannot save .*job-1\.png: E/),
    ]);
  });
});

describe('the options', () => {
  it('give the same picture for the same seed and another one for another', async () => {
    const [one, again, other] = [
      await run({ seed: 1 }),
      await run({ seed: 1 }),
      await run({ seed: 2 }),
    ];
    expect(again.image_base64).toBe(one.image_base64);
    expect(other.image_base64).not.toBe(one.image_base64);
    expect(other.seed).toBe(2);
  });

  it.each([
    { timestep: 1 },
    { processing_res: 96 },
    { resample_method: 'nearest' },
    { resample_method: 'bicubic' },
    { upsample_method: 'bilinear' },
    { upsample_method: 'bicubic' },
    { normalize: 'percentile' },
    { normalize: 'none' },
    { disparity: false },
  ])('are live: %j changes the picture', async (option) => {
    expect((await run(option)).image_base64).not.toBe((await run({})).image_base64);
  });

  it('give the map at the size it was computed at', async () => {
    const answer = await run({ output_processing_res: true });
    expect(answer).toMatchObject({ width: 128, height: 80 });
  });

  it('take 0 for the native size', async () => {
    expect(await run({ processing_res: 0 })).toMatchObject({
      processing_width: 640,
      processing_height: 424, // the VAE floors to multiples of 8
    });
  });

  it('turn the picture and its range around for the other polarity, never the numbers', async () => {
    const straight = await run({ output_formats: ['npy'] });
    const npy = await readFile(straight.files[1]?.file_path ?? '');
    const turned = await run({ output_formats: ['npy'], disparity: false });
    expect(turned).toMatchObject({
      polarity: 'far-bright',
      inverted: true,
      range: [straight.max, straight.min],
      min: straight.min,
      max: straight.max,
    });
    expect((await readFile(turned.files[1]?.file_path ?? '')).equals(npy)).toBe(true);
    const [a, b] = [await pixels(straight.image_base64), await pixels(turned.image_base64)];
    // Both round down, so the two of a pixel make 254, or 255 where nothing was lost.
    expect(a.every((value, i) => value + (b[i] ?? 0) === 254 || value + (b[i] ?? 0) === 255)).toBe(
      true,
    );
  });

  it('keep the polarity of what the model predicts unless told otherwise', async () => {
    const prediction = 'depth';
    expect(await run({}, { prediction })).toMatchObject({
      polarity: 'far-bright',
      inverted: false,
    });
    expect(await run({ disparity: true }, { prediction })).toMatchObject({
      polarity: 'near-bright',
      inverted: true,
    });
  });

  it('leave the values as the model gives them with normalize none', async () => {
    expect(await run({ normalize: 'none' })).toMatchObject({ range: [0, 1] });
  });
});

describe('the refusal', () => {
  it.each([
    ['another model', { model_id: 'jingheya/lotus-depth-g-v1-0' }, 'model_not_allowed', 400],
    ['an unknown field', { guidance_scale: 7.5 }, 'invalid_input', 400],
    ['what is no base64', { image_base64: 'not base64!' }, 'invalid_image', 400],
    ['what is no image', { image_base64: 'aGVsbG8=' }, 'unsupported_format', 400],
    ['a shape that is too thin', { processing_res: 10 }, 'shape_not_admitted', 400],
  ])('of %s', async (_what, options, code, status) => {
    await expect(run(options)).rejects.toMatchObject({ code, status });
  });

  it('of a job that nobody wants any more leaves the model to the next one', async () => {
    await expect(run({}, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'cancelled',
      status: 499,
    });
    expect((await run({})).width).toBe(640);
  });

  it('of a running job comes from the Python process, which goes on', async () => {
    const controller = new AbortController();
    const long = run({ processing_res: 1024 }, { signal: controller.signal });
    const next = run({});
    setTimeout(() => controller.abort(), 50);
    await expect(long).rejects.toMatchObject({ code: 'cancelled' });
    expect((await next).width).toBe(640);
  });
});
