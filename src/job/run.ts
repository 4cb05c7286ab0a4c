import path from 'node:path';
import { LotusError, messageOf } from '../errors.ts';
import { COLORMAPS } from '../image/colormap.ts';
import { decodeImage } from '../image/decode.ts';
import type { Secret } from '../secret.ts';
import { writeWhole } from '../storage/files.ts';
import { fileStem, imageStem } from '../storage/names.ts';
import type { Bounded } from '../time/bounded.ts';
import type { DepthMap, RgbImage, RunRequestOptions } from '../worker/model.ts';
import { type AcquireContext, acquireImage } from './acquire.ts';
import {
  type Answer,
  type Facts,
  gatherFacts,
  type ImagesAnswer,
  type Made,
  toAnswer,
} from './answer.ts';
import { authorize, type KeyBearer } from './authorize.ts';
import type { JobContext } from './context.ts';
import { FORMATS, type OutputFile } from './formats.ts';
import { answerImages, type ImagesContext } from './images.ts';
import { type ImageSource, type JobOptions, type OutputFormat, parseJobInput } from './schema.ts';
import { Stopwatch } from './stopwatch.ts';
import {
  NOT_UPLOADED,
  planUploads,
  type UploadPlan,
  type UploadsContext,
  uploadFiles,
} from './upload.ts';
import { chooseView, type View } from './view.ts';

/** A job as it came. */
export interface JobRequest extends KeyBearer {
  readonly id: string;
  /** A bucket of the caller's own. */
  readonly s3Config?: unknown;
}

export interface Outcome {
  readonly files: readonly OutputFile[];
  readonly facts: Facts;
}

/** What a job runs in that a stranger has sent. */
export interface ServeContext extends JobContext, AcquireContext, UploadsContext, ImagesContext {
  /** The key that every job must bring; null: nobody gets in. */
  readonly apiKey: Secret | null;
  /** The files are saved here, as `<id>` and their format's suffix. */
  readonly outputDir: string;
  /** Makes that folder where it is missing; throws where it leads out of the workspace. */
  readonly makeOutputDir: () => Promise<unknown>;
  /** What is saved is saved by this: the folder may be on a volume that does not answer. */
  readonly saves: Bounded;
}

/**
 * Run one job as it came: its answer is what `docs/job.md` says.
 *
 * @throws LotusError with the code that the caller gets.
 */
export async function runJob(
  job: JobRequest,
  context: ServeContext,
): Promise<Answer | ImagesAnswer> {
  authorize(job, context.apiKey);
  const { image, images, uploadUrl, options } = parseJobInput(job.input);
  admitModel(options.model_id, context.modelName);
  const view = chooseView(context.prediction, options);
  const plan = planUploads({ uploadUrl, s3Config: job.s3Config }, context);
  const folder = fileStem(job.id);
  const answering = { options, view, plan, folder, context };
  if (image) {
    return await answerImage(await prepareImage(image, context), { ...answering, stem: folder });
  }
  const share = Math.floor(context.maxAnswerBytes / images.length);
  const each = { ...answering, context: { ...context, maxAnswerBytes: share } };
  const stages = {
    prepare: (one: ImageSource) => prepareImage(one, context),
    answer: (one: Prepared, n: number) => answerImage(one, { ...each, stem: imageStem(folder, n) }),
  };
  return await answerImages(images, stages, context);
}

/** An image that is ready for the model. */
interface Prepared {
  readonly image: RgbImage;
  readonly clock: Stopwatch;
  /** Since when, on the clock of `performance.now()`. */
  readonly at: number;
}

async function prepareImage(source: ImageSource, context: ServeContext): Promise<Prepared> {
  const clock = new Stopwatch();
  const bytes = await clock.time('acquire', acquireImage(source, context));
  const image = await clock.time('image_decode', decodeImage(bytes, context.signal));
  return { image, clock, at: performance.now() };
}

interface Answering {
  options: JobOptions;
  view: View;
  plan: UploadPlan | null;
  /** The job's, in a bucket. */
  folder: string;
  /** What the image's files are called. */
  stem: string;
  context: ServeContext;
}

async function answerImage(
  { image, clock, at }: Prepared,
  { options, view, plan, folder, stem, context }: Answering,
): Promise<Answer> {
  clock.add({ wait: performance.now() - at });
  const pathOf = (format: OutputFormat) =>
    path.join(context.outputDir, stem + FORMATS[format].suffix);
  const made = await makeFiles(image, { options, view, pathOf, context, clock });
  const { saved, warnings } = await clock.time('save', saveOrWarn(made.files, context));
  const uploads = plan
    ? await clock.time('upload', uploadFiles(made.files, folder, plan, context))
    : NOT_UPLOADED;
  return toAnswer(made, {
    saved,
    urls: uploads.urls,
    warnings: [...warnings, ...uploads.warnings],
    timings: clock.timings(),
  });
}

/**
 * Decode an image, run the model on it, encode the map and save its files.
 *
 * @param pathOf where the file of a format goes.
 * @param save puts a file there.
 * @throws LotusError with the code that the caller gets.
 */
export async function inferImage(
  bytes: Uint8Array,
  options: JobOptions,
  pathOf: (format: OutputFormat) => string,
  context: JobContext,
  save: (file: OutputFile) => Promise<void> = saveFile,
): Promise<Outcome> {
  const view = chooseView(context.prediction, options);
  const clock = new Stopwatch();
  const image = await clock.time('image_decode', decodeImage(bytes, context.signal));
  const made = await makeFiles(image, { options, view, pathOf, context, clock });
  await clock.time('save', Promise.all(made.files.map(save)));
  return { files: made.files, facts: gatherFacts(made, clock.timings()) };
}

interface Making {
  options: JobOptions;
  view: View;
  pathOf: (format: OutputFormat) => string;
  context: JobContext;
  clock: Stopwatch;
}

/** Run the model on an image and encode the map: all but saving it. */
async function makeFiles(
  image: RgbImage,
  { options, view, pathOf, context, clock }: Making,
): Promise<Made> {
  const map = await context.model.run(image, modelRequest(options, view, context.signal));
  clock.add(map.timings_ms);
  const files = await clock.time('image_encode', encodeMap(map, options, pathOf));
  return { map, options, view, files, context };
}

/** A volume that is full, read-only or hangs does not cost a caller the map: the answer has it. */
async function saveOrWarn(
  files: readonly OutputFile[],
  { makeOutputDir, saves, signal }: Pick<ServeContext, 'makeOutputDir' | 'saves' | 'signal'>,
) {
  const made = saves.run(makeOutputDir, signal);
  const outcomes = await Promise.allSettled(
    files.map((file) => made.then(() => saves.run(() => saveFile(file), signal))),
  );
  return {
    saved: files.filter((_file, i) => outcomes[i]?.status === 'fulfilled'),
    warnings: outcomes.flatMap((outcome, i) =>
      outcome.status === 'rejected'
        ? [`${files[i]?.format} is not saved: ${messageOf(outcome.reason)}`]
        : [],
    ),
  };
}

/** @throws LotusError `internal`, saying which and why. */
export async function saveFile({
  path: file,
  bytes,
}: Pick<OutputFile, 'path' | 'bytes'>): Promise<void> {
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
  { polarity, inverted, normalize }: View,
  signal: AbortSignal | undefined,
): RunRequestOptions {
  const isNearLarge = (polarity === 'near-bright') !== inverted;
  return {
    options: {
      timestep: options.timestep,
      processing_res: options.processing_res ?? null,
      output_processing_res: options.output_processing_res,
      resample_method: options.resample_method,
      upsample_method: options.upsample_method,
      seed: options.seed,
      ensemble_size: options.ensemble_size,
    },
    picture: {
      normalize,
      invert: inverted,
      // Told of the map as the model gives it, and not of the picture: so Spectral is upstream's to the byte.
      reverse_color: COLORMAPS[options.colormap].isNearFirst ? isNearLarge : inverted,
    },
    planes: new Set(options.output_formats.map((format) => FORMATS[format].plane)),
    signal,
  };
}

async function encodeMap(
  map: DepthMap,
  options: JobOptions,
  pathOf: (format: OutputFormat) => string,
): Promise<OutputFile[]> {
  return await Promise.all(
    options.output_formats.map(async (format) => ({
      format,
      path: pathOf(format),
      bytes: await FORMATS[format].encode(map, options),
    })),
  );
}
