import path from 'node:path';
import { LotusError, messageOf } from '../errors.ts';
import { decodeImage } from '../image/decode.ts';
import { writeWhole } from '../storage/files.ts';
import { safeFileName } from '../storage/names.ts';
import type { DepthMap, RunRequestOptions } from '../worker/model.ts';
import { type AcquireContext, acquireImage } from './acquire.ts';
import { type Answer, type Facts, gatherFacts } from './answer.ts';
import type { JobContext } from './context.ts';
import { FORMATS, type OutputFile } from './formats.ts';
import { choosePolarity } from './polarity.ts';
import { type JobOptions, type OutputFormat, parseJobInput } from './schema.ts';
import { Stopwatch } from './stopwatch.ts';

export interface Outcome {
  readonly files: readonly OutputFile[];
  readonly facts: Facts;
}

/**
 * Run one job: its `input` in, its answer out, both as `docs/job.md` has them. The picture is saved as
 * `<outputDir>/<id>.png` first.
 *
 * @throws LotusError with the code that the caller gets.
 */
export async function runJob(
  job: { id: string; input: unknown },
  context: JobContext & AcquireContext & { outputDir: string },
): Promise<Answer> {
  const { image, options } = parseJobInput(job.input);
  const bytes = await acquireImage(image, context);
  const stem = path.join(context.outputDir, safeFileName(job.id));
  const { files, facts } = await inferImage(
    bytes,
    options,
    (format) => `${stem}.${format}`,
    context,
  );
  const png = files.find((file) => file.format === 'png');
  if (!png) throw new Error('png is always made');
  return { image_base64: png.bytes.toString('base64'), file_path: png.path, ...facts };
}

/**
 * Decode an image, run the model on it, encode the map and save its files.
 *
 * @param pathOf where the file of a format goes.
 * @throws LotusError with the code that the caller gets.
 */
export async function inferImage(
  bytes: Uint8Array,
  options: JobOptions,
  pathOf: (format: OutputFormat) => string,
  context: JobContext,
): Promise<Outcome> {
  admitModel(options.model_id, context.modelName);
  const clock = new Stopwatch();
  const view = choosePolarity(context.prediction, options.disparity);
  const image = await clock.time('image_decode', decodeImage(bytes));
  const map = await context.model.run(image, modelRequest(options, view.inverted, context.signal));
  clock.add(map.timings_ms);
  const files = await clock.time('image_encode', encodeMap(map, options.output_formats, pathOf));
  await clock.time('save', Promise.all(files.map(save)));
  return {
    files,
    facts: gatherFacts({ map, options, view, files, context, timings: clock.timings() }),
  };
}

async function save({ path: file, bytes }: OutputFile): Promise<void> {
  await writeWhole(file, bytes).catch((error) => {
    throw new LotusError(
      'internal',
      `Cannot save ${file}: ${messageOf(error)}. Check that its folder can be written to and has room.`,
      { cause: error },
    );
  });
}

/** One model at a time, and callers cannot change it. */
function admitModel(wanted: string | undefined, loaded: string): void {
  if (wanted === undefined || wanted === loaded) return;
  throw new LotusError(
    'model_not_allowed',
    `model_id ${JSON.stringify(wanted)} is not allowed; allowed: ${loaded}.`,
  );
}

/** What the model is asked for a job's options. */
export function modelRequest(
  options: JobOptions,
  invert: boolean,
  signal: AbortSignal | undefined,
): RunRequestOptions {
  return {
    options: {
      timestep: options.timestep,
      processing_res: options.processing_res ?? null,
      output_processing_res: options.output_processing_res,
      resample_method: options.resample_method,
      upsample_method: options.upsample_method,
      seed: options.seed,
    },
    picture: { normalize: options.normalize, invert },
    planes: new Set(options.output_formats.map((format) => FORMATS[format].plane)),
    signal,
  };
}

async function encodeMap(
  map: DepthMap,
  formats: readonly OutputFormat[],
  pathOf: (format: OutputFormat) => string,
): Promise<OutputFile[]> {
  return await Promise.all(
    formats.map(async (format) => ({
      format,
      path: pathOf(format),
      bytes: await FORMATS[format].encode(map),
    })),
  );
}
