import type { Prediction } from '../models.ts';
import type { DepthMap } from '../worker/model.ts';
import type { JobContext } from './context.ts';
import { FORMATS, type OutputFile } from './formats.ts';
import type { Polarity } from './polarity.ts';
import type { JobOptions, OutputFormat } from './schema.ts';

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
  prediction: Exclude<Prediction, 'normals'>;
  polarity: Polarity;
  inverted: boolean;
  normalize: JobOptions['normalize'];
  range: [number, number];
  seed: number;
  dtype: 'float16' | 'float32';
  attention: string;
  device: string;
  files: { format: OutputFormat; file_path: string; content_type: string; bytes: number }[];
  timings_ms: Record<string, number>;
  warnings: string[];
}

/** A job's answer: the picture, and the facts. */
export interface Answer extends Facts {
  /** The grey PNG; null where the answer would be larger than it may be. */
  image_base64: string | null;
  file_path: string;
}

interface Sources {
  map: DepthMap;
  options: JobOptions;
  view: { polarity: Polarity; inverted: boolean };
  files: readonly OutputFile[];
  context: JobContext;
  timings: Record<string, number>;
}

export function gatherFacts({ map, options, view, files, context, timings }: Sources): Facts {
  const { ready } = context.model;
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
    normalize: options.normalize,
    range: map.range,
    seed: options.seed,
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
    warnings: map.warnings,
  };
}
