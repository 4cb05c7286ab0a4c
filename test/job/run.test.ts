import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { APP_ROOT } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import type { LotusError } from '../../src/errors.ts';
import type { Answer, ImageAnswer, ImagesAnswer } from '../../src/job/answer.ts';
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

/** One image, in one answer. */
async function run(options: object, circumstances: Circumstances = {}): Promise<Answer> {
  const answer = await runAny({ image_base64: photo, ...options }, circumstances);
  if ('images' in answer) throw new Error('it is an answer of several images');
  return answer;
}

/** Several, in one answer. */
async function runSeveral(
  images: readonly unknown[],
  { options = {}, ...circumstances }: Circumstances & { options?: object } = {},
): Promise<ImagesAnswer> {
  const answer = await runAny({ images, ...options }, circumstances);
  if (!('images' in answer)) throw new Error('it is an answer of one image');
  return answer;
}

type Circumstances = NonNullable<Parameters<typeof runAny>[1]>;

function runAny(
  options: object,
  {
    id = 'job-1',
    prediction = 'disparity' as Prediction,
    signal = new AbortController().signal,
    folder = outputDir,
    makeOutputDir = async (): Promise<unknown> => null,
    waitMs = 60_000,
    maxAnswerBytes = 20_000_000,
    onFailure = (_n: number, _failure: LotusError): void => {},
  } = {},
) {
  const input = { api_key: 'key', processing_res: 128, ...options };
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
    maxAnswerBytes,
    onFailure,
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

describe('several images', () => {
  const good = (image: ImageAnswer | undefined): Answer => {
    if (!image || 'error' in image) throw new Error(`it is no answer: ${JSON.stringify(image)}`);
    return image;
  };
  const withoutTimes = (image: ImageAnswer | undefined) => ({ ...good(image), timings_ms: null });

  it('have an answer each, in their order, and one that is bad fails alone', async () => {
    const failures: unknown[] = [];
    const onFailure = (n: number, { code }: LotusError) => failures.push([n, code]);
    const small = await sharp(Buffer.from(photo, 'base64')).resize(64).png().toBuffer();
    const answer = await runSeveral(
      [
        { id: 'photo', image_base64: photo },
        { id: 'bad', image_base64: 'aGVsbG8=' },
        { image_base64: small.toString('base64') },
      ],
      { id: 'several', onFailure, options: { output_formats: ['npy'] } },
    );
    expect(answer).toEqual({
      images: [expect.anything(), expect.anything(), expect.anything()],
      failed: 1,
      timings_ms: { total: expect.any(Number) },
      warnings: [],
    });
    const [first, second, third] = answer.images;
    const alone = await run({ output_formats: ['npy'] }, { id: 'alone' });
    const named = (file: string | null) => file?.replace('several~1', 'alone') ?? null;
    expect({
      ...withoutTimes(first),
      file_path: named(good(first).file_path),
      files: good(first).files.map((file) => ({ ...file, file_path: named(file.file_path) })),
    }).toEqual({ id: 'photo', ...alone, timings_ms: null });
    expect(second).toEqual({
      id: 'bad',
      error: expect.stringContaining('JPEG'),
      code: 'unsupported_format',
      status: 400,
    });
    expect(third).toMatchObject({ width: 64, file_path: path.join(outputDir, 'several~3.png') });
    expect(third).not.toHaveProperty('id');
    expect(good(third).timings_ms).toMatchObject({
      acquire: expect.any(Number),
      wait: expect.any(Number),
      unet: expect.any(Number),
    });
    const saved = (await readdir(outputDir)).filter((name) => name.startsWith('several'));
    expect(saved.sort()).toEqual([1, 3].flatMap((n) => [`several~${n}.npy`, `several~${n}.png`]));
    expect(failures).toEqual([[2, 'unsupported_format']]);
  });

  it('that are malformed each in its own way are answered each with what is wrong', async () => {
    const { images, failed } = await runSeveral([
      {},
      'https://example.com/?token=hunter2',
      { id: 'both', image_url: 'https://example.com/?token=hunter2', image_base64: photo },
      { id: 'typo', image_base64: photo, sead: 3 },
      { id: 'inside', image_url: 'http://127.0.0.1:1/?token=hunter2' },
      { id: 7, image_base64: photo },
      null,
    ]);
    expect(failed).toBe(7);
    expect(images).toMatchObject([
      { code: 'no_image' },
      { code: 'invalid_input', error: /expected object/ },
      {
        id: 'both',
        error: 'Invalid input: there are image_url and image_base64; send one of them.',
      },
      { id: 'typo', error: 'Invalid input: unknown field "sead".' },
      { id: 'inside', code: 'fetch_refused' },
      { code: 'invalid_input', error: /^Invalid input: id: .*, got 7\.$/ },
      { code: 'invalid_input' },
    ]);
    expect(JSON.stringify(images)).not.toContain('hunter2');
  });

  it('have no more pictures in the answer than it may have, the largest left out first', async () => {
    const [tiny, large] = await Promise.all(
      [32, 640].map(async (width) => {
        const image = await sharp(Buffer.from(photo, 'base64')).resize(width).png().toBuffer();
        return { image_base64: image.toString('base64') };
      }),
    );
    const { images } = await runSeveral([large, tiny, large], { maxAnswerBytes: 10_000 });
    expect(images).toMatchObject([
      { image_base64: null, warnings: [/^image_base64 is null/] },
      { image_base64: /^iVBOR/, warnings: [] },
      { image_base64: null, warnings: [/^image_base64 is null/] },
    ]);
    const { file_path } = good(images[0]);
    expect((await sharp(await readFile(file_path ?? '')).metadata()).width).toBe(640);
  });

  it('are refused together for an option that is wrong, and for a wrong key', async () => {
    const image = { image_base64: photo };
    const other = { model_id: 'jingheya/lotus-depth-g-v1-0' };
    await expect(runSeveral([image], { options: other })).rejects.toMatchObject({
      code: 'model_not_allowed',
    });
    await expect(runSeveral([image], { options: { api_key: 'no' } })).rejects.toMatchObject({
      code: 'unauthorized',
    });
  });

  it('end together when nobody wants the job any more', async () => {
    const controller = new AbortController();
    const onFailure = () => controller.abort(); // the first has gone wrong, the second is on its way
    const several = runSeveral([{}, { image_base64: photo }, { image_base64: photo }], {
      signal: controller.signal,
      onFailure,
    });
    await expect(several).rejects.toMatchObject({ code: 'cancelled' });
    expect((await run({})).width).toBe(640);
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
