import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { SAMPLE_ROOT } from '../src/app.ts';
import type { ErrorCode } from '../src/errors.ts';
import { OUTPUT_FORMATS } from '../src/job/schema.ts';
import type { Random } from './random.ts';

export const API_KEY = 'sk-of-the-chaos';

/** A job, and what its caller is to get. */
export interface TestJob {
  readonly id: string;
  readonly input: Readonly<Record<string, unknown>>;
  readonly expects: 'map' | ErrorCode;
  /** Its image and what of its options counts in the model, but for the seed: a worker takes jobs of the same looks for one. */
  readonly looks?: string;
}

/** Widths, in pixels. Small: the model is to be busy, and the machine may be a laptop. */
const SIZES = [48, 160, 320, 640];
/** Of one map, and not of an ensemble. */
const FORMATS_OF_ONE = OUTPUT_FORMATS.filter((format) => format !== 'uncertainty');
const FORMATS = ['jpeg', 'png', 'webp'] as const;
const PROCESSING = [64, 96, 128, 256];

/** The sample images at several sizes and in all formats, by names. */
export async function drawImages(sizes: readonly number[] = SIZES): Promise<Map<string, Buffer>> {
  const folder = path.join(SAMPLE_ROOT, 'images');
  const images = new Map<string, Buffer>();
  for (const [i, file] of (await readdir(folder)).sort().entries()) {
    const whole = sharp(await readFile(path.join(folder, file)));
    for (const [j, size] of sizes.entries()) {
      const format = FORMATS[(i + j) % FORMATS.length] ?? 'png';
      const image = await whole.clone().resize(size).toFormat(format).toBuffer();
      images.set(`${path.parse(file).name}-${size}.${format}`, image);
    }
  }
  return images;
}

export interface Making {
  readonly random: Random;
  readonly images: ReadonlyMap<string, Buffer>;
  readonly urlOf: (name: string) => string;
  /** How many of a hundred jobs are wrong. */
  readonly wrongPercent: number;
}

/** Jobs of all kinds. */
export function makeJobs(count: number, making: Making): TestJob[] {
  return Array.from({ length: count }, (_, n) => makeJob(n, making));
}

/** One of all kinds. */
export function makeJob(n: number, making: Making): TestJob {
  const { random } = making;
  const id = `${random.chance(25) ? 'sync-' : ''}job-${String(n).padStart(4, '0')}`;
  const isWrong = random.chance(making.wrongPercent);
  return { id, ...(isWrong ? wrong(n, making) : good(n, making)) };
}

function good(seed: number, { random, images, urlOf }: Making): Omit<TestJob, 'id'> {
  const [name, bytes] = random.pick([...images]);
  const base64 = bytes.toString('base64');
  const image = random.pick([
    { image_base64: base64 },
    { image_base64: `data:image/${path.extname(name).slice(1)};base64,${base64}` },
    { image_url: urlOf(name) },
  ]);
  const options = {
    seed,
    processing_res: random.pick(PROCESSING),
    ...(random.chance(30) && { output_formats: [random.pick(FORMATS_OF_ONE)] }),
    ...(random.chance(30) && { disparity: false }),
    ...(random.chance(20) && { output_processing_res: true }),
  };
  const looks = [name, options.processing_res, options.output_processing_res ?? false].join(' ');
  return { input: { api_key: API_KEY, ...image, ...options }, expects: 'map', looks };
}

/** What callers get wrong, each with the code that tells them. */
function wrong(seed: number, { random, images, urlOf }: Making): Omit<TestJob, 'id'> {
  const [name, bytes] = random.pick([...images]);
  const api_key = API_KEY;
  const image_base64 = bytes.toString('base64');
  return random.pick<Omit<TestJob, 'id'>>([
    { input: { api_key: 'sk-of-nobody', image_base64, seed }, expects: 'unauthorized' },
    { input: { api_key, seed }, expects: 'no_image' },
    { input: { api_key, image_base64, sead: seed }, expects: 'invalid_input' },
    { input: { api_key, image_base64: '!', seed }, expects: 'invalid_image' },
    {
      input: { api_key, image_base64: bytes.subarray(0, 40).toString('base64'), seed },
      expects: 'invalid_image',
    },
    { input: { api_key, image_url: 'http://[::1]:1/image.png', seed }, expects: 'fetch_refused' },
    { input: { api_key, image_url: urlOf(`no-${name}`), seed }, expects: 'fetch_failed' },
  ]);
}
