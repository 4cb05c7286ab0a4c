import { LotusError, UsageError } from '../errors.ts';
import {
  type JobOptions,
  jobOptionsSchema,
  OUTPUT_FORMATS,
  type OutputFormat,
  parseJobOptions,
} from '../job/schema.ts';
import { chooseView } from '../job/view.ts';
import type { Prediction } from '../models.ts';
import { STANDARD_INPUT } from './inputs.ts';
import type { SettingFlags } from './session.ts';
import { STANDARD_OUTPUT } from './standard-output.ts';

/** Where maps go unless it is said. */
export const DEFAULT_OUTPUT = 'depth';

/** What a contact sheet is called there, unless it is given a name. No map is called so. */
export const SHEET_NAME = 'contact-sheet.png';

/** What can be said behind `lotus-worker infer`. */
export interface InferFlags extends SettingFlags {
  output?: string;
  json?: boolean;
  /** Compute again what is there. */
  force?: boolean;
  /** Its name; true: it is to have its own. */
  contactSheet?: string | true;
  processingRes?: number;
  outputProcessingRes?: boolean;
  resampleMethod?: string;
  upsampleMethod?: string;
  timestep?: number;
  disparity?: boolean;
  seed?: number;
  ensembleSize?: number;
  normalize?: string;
  format?: string[];
  colormap?: string;
}

/**
 * The job's options from the flags, which bear the same names.
 *
 * @throws UsageError that names the flags which are wrong.
 */
export function readOptions(flags: InferFlags): JobOptions {
  const given = {
    timestep: flags.timestep,
    processing_res: flags.processingRes,
    output_processing_res: flags.outputProcessingRes,
    resample_method: flags.resampleMethod,
    upsample_method: flags.upsampleMethod,
    disparity: flags.disparity,
    seed: flags.seed,
    ensemble_size: flags.ensembleSize,
    normalize: flags.normalize,
    colormap: flags.colormap,
    output_formats: flags.format,
  };
  return inFlags(() => parseJobOptions(given));
}

/** @throws UsageError when maps of the model cannot be shown so. */
export function checkShown(options: JobOptions, prediction: Prediction): void {
  inFlags(() => chooseView(prediction, options));
}

const JOB_FIELDS = Object.keys(jobOptionsSchema.shape);

/** What is wrong with a job's fields is wrong with the flags, and told in their words. */
function inFlags<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof LotusError)) throw error;
    const message = JOB_FIELDS.reduce(
      (text, field) => text.replaceAll(`${field}:`, `${flagOf(field)}:`),
      error.message,
    );
    throw new UsageError(message, { cause: error });
  }
}

function flagOf(field: string): string {
  return field === 'output_formats' ? '--format' : `--${field.replaceAll('_', '-')}`;
}

/** Where the maps go. */
export type Target =
  | { readonly to: 'folder'; readonly dir: string }
  | { readonly to: 'standard output'; readonly format: OutputFormat };

/**
 * Where the maps go: an image from standard input alone to standard output, unless it is said; all else into a folder.
 *
 * @throws UsageError when standard output is to take what it cannot.
 */
export function readTarget(paths: readonly string[], flags: InferFlags): Target {
  const isFilter = paths.length === 1 && paths[0] === STANDARD_INPUT;
  const output = flags.output ?? (isFilter ? STANDARD_OUTPUT : DEFAULT_OUTPUT);
  if (output !== STANDARD_OUTPUT) {
    if (flags.contactSheet !== undefined && paths.includes(STANDARD_INPUT)) {
      throw new UsageError('--contact-sheet shows files, and standard input is none');
    }
    return { to: 'folder', dir: output };
  }
  const taken = 'the map goes to standard output';
  const instead = 'name a folder with --output';
  if (process.stdout.isTTY) {
    throw new UsageError(
      `${taken}, which is a terminal: send it to a file or a pipe, or ${instead}`,
    );
  }
  if (flags.json) throw new UsageError(`${taken}, and so would --json: ${instead}`);
  if (flags.contactSheet !== undefined) {
    throw new UsageError(`${taken}, and there is no place for --contact-sheet: ${instead}`);
  }
  const formats = flags.format ?? ['png'];
  const [format, ...others] = OUTPUT_FORMATS.filter((known) => formats.includes(known));
  if (format === undefined || others.length > 0) {
    throw new UsageError(
      `${taken}, which takes one --format, not ${formats.join(',')}: ${instead}`,
    );
  }
  return { to: 'standard output', format };
}
