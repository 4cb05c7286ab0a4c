import type { ErrorCode, LotusError } from '../errors.ts';
import type { Prediction } from '../models.ts';
import type { DepthMap } from '../worker/model.ts';
import type { Ready } from '../worker/protocol.ts';
import type { JobContext } from './context.ts';
import { FORMATS, type OutputFile } from './formats.ts';
import type { JobOptions, OutputFormat } from './schema.ts';
import type { View } from './view.ts';

/** What is known of a map beside its pictures; `docs/job.md` says what each field means. */
export interface Facts {
  min: number;
  max: number;
  width: number;
  height: number;
  processing_width: number;
  processing_height: number;
  model_id: string;
  model_revision: string | null;
  prediction: Prediction;
  /** Null of normals. */
  polarity: View['polarity'];
  inverted: boolean;
  normalize: View['normalize'];
  range: [number, number];
  seed: number;
  ensemble_size: number;
  dtype: 'float16' | 'float32';
  attention: string;
  device: string;
  files: { format: OutputFormat; file_path: string; content_type: string; bytes: number }[];
  timings_ms: Record<string, number>;
  warnings: string[];
}

/** Where a file is: on the volume, uploaded, or both. */
type AnswerFile = Omit<Facts['files'][number], 'file_path'> & {
  file_path: string | null;
  url?: string;
};

/** A job's answer: the picture, and the facts. */
export interface Answer extends Omit<Facts, 'files'> {
  files: AnswerFile[];
  /** The PNG; null where it is uploaded, and where the answer would be larger than it may be. */
  image_base64: string | null;
  /** Null where it could not be saved. */
  file_path: string | null;
}

/** What went wrong with one image of several, as a job that failed says it. */
export interface ImageFailure {
  error: string;
  code: ErrorCode;
  status: number;
}

/** What came of one image of several; `id` as the caller has sent it. */
export type ImageAnswer = { id?: string } & (Answer | ImageFailure);

/** The answer of a job with several images, in the order in which they came. */
export interface ImagesAnswer {
  images: readonly ImageAnswer[];
  /** How many of them have an error. */
  failed: number;
  timings_ms: Record<string, number>;
  warnings: string[];
}

export function failureOf({ message, code, status }: LotusError): ImageFailure {
  return { error: message, code, status };
}

export function isFailure(image: ImageAnswer): image is { id?: string } & ImageFailure {
  return 'error' in image;
}

/** What a job has made. */
export interface Made {
  map: DepthMap;
  options: JobOptions;
  view: View;
  files: readonly OutputFile[];
  context: JobContext;
}

/** A job's answer, of which some files may not have been saved, and some are uploaded. */
export function toAnswer(
  made: Made,
  { saved, urls, warnings, timings }: Placed & { timings: Record<string, number> },
): Answer {
  const png = made.files.find(({ format }) => format === 'png');
  if (!png) throw new Error('png is always made');
  const files = made.files.filter((file) => saved.includes(file) || urls.has(file.format));
  const facts = gatherFacts({ ...made, files }, timings);
  return {
    image_base64: urls.has('png') ? null : png.bytes.toString('base64'),
    file_path: saved.includes(png) ? png.path : null,
    ...facts,
    files: facts.files.map(({ format, file_path, ...told }) => {
      const url = urls.get(format);
      const isSaved = saved.some((file) => file.format === format);
      return { format, file_path: isSaved ? file_path : null, ...(url && { url }), ...told };
    }),
    warnings: [...facts.warnings, ...warnings],
  };
}

interface Placed {
  saved: readonly OutputFile[];
  /** Where those are that were uploaded. */
  urls: ReadonlyMap<OutputFormat, string>;
  /** Why the others are not. */
  warnings: readonly string[];
}

export function gatherFacts(
  { map, options, view, files, context }: Made,
  timings: Record<string, number>,
): Facts {
  const { by: ready } = map;
  return {
    min: map.min,
    max: map.max,
    width: map.width,
    height: map.height,
    processing_width: map.processing_width,
    processing_height: map.processing_height,
    model_id: context.modelName,
    model_revision: ready.revision,
    prediction: context.prediction,
    ...view,
    range: map.range,
    seed: options.seed,
    ensemble_size: options.ensemble_size,
    dtype: map.dtype,
    attention: ready.attention.kernel,
    device: ready.device,
    files: files.map(({ format, path, bytes }) => ({
      format,
      file_path: path,
      content_type: FORMATS[format].contentType,
      bytes: bytes.length,
    })),
    timings_ms: timings,
    warnings: [...map.warnings, ...warningsOf(options, ready)],
  };
}

function warningsOf({ ensemble_size }: JobOptions, { mode }: Ready): string[] {
  if (ensemble_size === 1 || mode === 'generation') return [];
  return [
    `ensemble_size ${ensemble_size} takes its time for next to nothing: this model does not generate`,
  ];
}
