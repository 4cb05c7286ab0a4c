import { mkdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import {
  asLotusError,
  cancelled,
  isCancelled,
  LotusError,
  messageOf,
  UsageError,
} from '../errors.ts';
import type { Facts } from '../job/answer.ts';
import { FORMATS } from '../job/formats.ts';
import { inferImage } from '../job/run.ts';
import { type JobOptions, jobOptionsSchema, parseJobOptions } from '../job/schema.ts';
import { chooseView } from '../job/view.ts';
import { OutputNames } from '../storage/names.ts';
import type { Model } from '../worker/model.ts';
import { mapAhead, untilAborted } from './ahead.ts';
import { findImages, type Input, readInput } from './inputs.ts';
import {
  interruptSignal,
  openSession,
  type Session,
  type SettingFlags,
  startModel,
} from './session.ts';
import { Terminal } from './terminal.ts';

const JOB_FIELDS = Object.keys(jobOptionsSchema.shape);
/** The one that is not called as its field. */
const FLAGS: Readonly<Record<string, string>> = { output_formats: '--format' };
const flagOf = (field: string) => `--${field.replaceAll('_', '-')}`;

export interface InferFlags extends SettingFlags {
  output: string;
  json?: boolean;
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

/** What became of one input; a line of `--json`. */
export type Row =
  | ({ input: string; ok: true; outputs: string[] } & Facts)
  | { input: string; ok: false; outputs: []; error: string; code: string; status: number };

/** Images beside those in the model: the one whose row comes next, and one that is read and decoded. */
const AHEAD = 1;

/**
 * `lotus-worker infer`: a map for each image.
 *
 * @param onRow gets what became of each input, too.
 * @returns the exit code: 0 all well, 1 some failed.
 * @throws UsageError, SetupError, or LotusError when the model cannot be loaded, or `cancelled`.
 */
export async function infer(
  paths: readonly string[],
  flags: InferFlags,
  onRow?: (row: Row) => void,
): Promise<number> {
  const options = readOptions(flags);
  const session = await openSession(flags, new Terminal());
  orUsageError(() => chooseView(session.config.model.prediction, options));
  const output = await realOutput(flags.output);
  const inputs = await findImages(paths, output);
  const signal = interruptSignal();
  const tellAll = (error: unknown): never => {
    if (flags.json && error instanceof LotusError && !isCancelled(error)) {
      const rows = inputs.map((input) =>
        failedRow(input.file, 'error' in input ? input.error : error),
      );
      for (const row of rows) session.terminal.result(JSON.stringify(row));
    }
    throw error;
  };
  // Nothing to read is no reason to load a model.
  const maxProcesses = inputs.filter((input) => !('error' in input)).length;
  const model =
    maxProcesses > 0 ? await startModel(session, signal, { maxProcesses }).catch(tellAll) : null;
  try {
    return await inferAll({ inputs, output, options, flags, onRow, session, model, signal });
  } finally {
    await model?.stop();
  }
}

interface Batch {
  inputs: readonly Input[];
  /** Where the outputs go, as it really is. */
  output: string;
  options: JobOptions;
  flags: InferFlags;
  onRow: ((row: Row) => void) | undefined;
  session: Session;
  model: Model | null;
  signal: AbortSignal;
}

async function inferAll(batch: Batch): Promise<number> {
  const { inputs, session, signal } = batch;
  const { terminal } = session;
  const since = performance.now();
  const names = new OutputNames(batch.output, await realPaths(inputs));
  let done = 0;
  let failed = 0;
  terminal.progress(0, inputs.length, '');
  const wanted = untilAborted(inputs, signal);
  const ahead = (batch.model?.up ?? 1) + AHEAD;
  for await (const row of mapAhead(wanted, ahead, (input) => inferOne(input, names, batch))) {
    if (!row.ok && row.code === 'cancelled') continue;
    done += 1;
    if (!row.ok) failed += 1;
    show(row, batch);
    batch.onRow?.(row);
    terminal.progress(done, inputs.length, row.input);
  }
  terminal.status('');
  const seconds = ((performance.now() - since) / 1000).toFixed(1);
  const rest = signal.aborted ? `, ${inputs.length - done} interrupted` : '';
  terminal.note(`${done - failed} done, ${failed} failed${rest} in ${seconds} s`);
  if (signal.aborted) throw cancelled();
  return failed === 0 ? 0 : 1;
}

async function inferOne(input: Input, names: OutputNames, batch: Batch): Promise<Row> {
  const { options, session, model, signal } = batch;
  const { config, log } = session;
  try {
    if ('error' in input) throw input.error;
    if (model === null) throw new Error('there is a file, and no model was loaded');
    const suffixes = options.output_formats.map((format) => FORMATS[format].suffix);
    const paths = names.reserve(input.file, suffixes);
    const { files, facts } = await inferImage(
      await readInput(input.file),
      options,
      (format) => paths[options.output_formats.indexOf(format)] ?? '',
      { model, modelName: config.model.name, prediction: config.model.prediction, signal },
    );
    // As --output was given, and not as it really is.
    const outputs = files.map((file) => path.join(batch.flags.output, path.basename(file.path)));
    return { input: input.file, ok: true, outputs, ...facts };
  } catch (error) {
    const failure = asLotusError(error);
    const { message, code, status, cause } = failure;
    if (status >= 500) log.error({ input: input.file, code, err: cause }, message);
    return failedRow(input.file, failure);
  }
}

function failedRow(input: string, { message, code, status }: LotusError): Row {
  return { input, ok: false, outputs: [], error: message, code, status };
}

function show(row: Row, { flags, session: { terminal } }: Batch): void {
  if (flags.json) {
    terminal.result(JSON.stringify(row));
  } else if (row.ok) {
    const { total = 0, wait = 0 } = row.timings_ms;
    const seconds = ((total - wait) / 1000).toFixed(1);
    const what = `${row.width}x${row.height}, ${seconds} s`;
    terminal.result(`${row.input} -> ${row.outputs.join(', ')}  (${what})`);
    for (const warning of row.warnings) terminal.note(`${row.input}: ${warning}`);
  } else {
    terminal.note(`${row.input}: ${row.error} [${row.code}]`);
  }
}

/** The job's options from the flags, which bear the same names. */
function readOptions(flags: InferFlags): JobOptions {
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
  return orUsageError(() => parseJobOptions(given));
}

/** What is wrong with a job's fields, in the words of the flags. */
function orUsageError<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof LotusError)) throw error;
    const message = JOB_FIELDS.reduce(
      (text, field) => text.replaceAll(`${field}:`, `${FLAGS[field] ?? flagOf(field)}:`),
      error.message,
    );
    throw new UsageError(message, { cause: error });
  }
}

/** The output folder as it really is, so that a link to an input's folder is recognised. */
async function realOutput(output: string): Promise<string> {
  try {
    await mkdir(output, { recursive: true });
    return await realpath(output);
  } catch (error) {
    throw new UsageError(`--output ${output} cannot be made: ${messageOf(error)}`);
  }
}

async function realPaths(inputs: readonly Input[]): Promise<string[]> {
  const names = inputs.map(async ({ file }) => {
    // A link is an input as much as what it points to.
    const dir = await realpath(path.dirname(file)).catch(() => path.resolve(path.dirname(file)));
    const itself = path.join(dir, path.basename(file));
    return [itself, await realpath(file).catch(() => itself)];
  });
  return (await Promise.all(names)).flat();
}
