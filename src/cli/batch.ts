import { mapAhead, untilAborted } from '../ahead.ts';
import { asLotusError, cancelled, type LotusError } from '../errors.ts';
import { type Facts, failureOf, type ImageFailure } from '../job/answer.ts';
import type { OutputFile } from '../job/formats.ts';
import { inferImage } from '../job/run.ts';
import type { JobOptions } from '../job/schema.ts';
import type { Model } from '../worker/model.ts';
import { readInput } from './inputs.ts';
import type { Planned, Task } from './plan.ts';
import type { Session } from './session.ts';

/** What became of one input; a line of `--json`. */
export type Row =
  | ({ input: string; ok: true; outputs: string[] } & Facts)
  | SkippedRow
  | ({ input: string; ok: false; outputs: [] } & ImageFailure);

/** Of an input whose maps are there from before. */
interface SkippedRow {
  input: string;
  ok: true;
  skipped: true;
  outputs: string[];
  polarity: string | null;
}

/** An image whose maps are there from before. */
export interface Done extends Planned {
  readonly polarity: string | null;
}

/** Images beside those in the model: the one whose row comes next, and one that is read and decoded. */
const AHEAD = 1;

/** Where files go. */
export interface Destination {
  /** Whether standard output is theirs, and nothing may be told there. */
  readonly takesStandardOutput: boolean;
  /** Make ready for the files of an image, which is then read. */
  begin(image: Planned): Promise<Begun>;
  /** A file as it is told of. */
  shown(file: string): string;
}

export interface Begun {
  save(file: OutputFile): Promise<void>;
  /** Called when all files are saved. Returns what is to be told beside it. */
  end(facts: Facts): Promise<string[]>;
}

export interface Batch {
  tasks: readonly (Task | Done)[];
  destination: Destination;
  options: JobOptions;
  /** Rows as JSON. */
  json: boolean;
  onRow: (row: Row) => void;
  session: Session;
  model: Model | null;
  signal: AbortSignal;
}

/**
 * A map for each image, and a row for each input.
 *
 * @returns the exit code: 0 all well, 1 some failed.
 * @throws LotusError `cancelled`, when what was begun has ended.
 */
export async function inferAll(batch: Batch): Promise<number> {
  const { tasks, session, signal } = batch;
  const { terminal } = session;
  const since = performance.now();
  const count = { done: 0, skipped: 0, failed: 0 };
  let isCancelled = false;
  const told = () => count.done + count.skipped + count.failed;
  terminal.progress(0, tasks.length, '');
  const wanted = untilAborted(tasks, signal);
  const ahead = (batch.model?.up ?? 1) + AHEAD;
  for await (const row of mapAhead(wanted, ahead, (task) => inferOne(task, batch))) {
    if (!row.ok && row.code === 'cancelled') {
      isCancelled = true;
      continue;
    }
    count[stateOf(row)] += 1;
    show(row, batch);
    batch.onRow(row);
    terminal.progress(told(), tasks.length, row.input);
  }
  terminal.status('');
  const seconds = ((performance.now() - since) / 1000).toFixed(1);
  const counted = [
    `${count.done} done`,
    ...(count.skipped > 0 ? [`${count.skipped} skipped`] : []),
    `${count.failed} failed`,
    ...(signal.aborted ? [`${tasks.length - told()} interrupted`] : []),
  ];
  const hint = count.skipped > 0 ? ' (--force computes again what is skipped)' : '';
  terminal.note(`${counted.join(', ')} in ${seconds} s${hint}`);
  if (signal.aborted || isCancelled) throw cancelled();
  return count.failed === 0 ? 0 : 1;
}

function stateOf(row: Row): 'done' | 'skipped' | 'failed' {
  if (!row.ok) return 'failed';
  return 'skipped' in row ? 'skipped' : 'done';
}

async function inferOne(task: Task | Done, batch: Batch): Promise<Row> {
  try {
    if ('error' in task) throw task.error;
    if ('polarity' in task) return skippedRow(task, batch.destination);
    return await infer(task, batch);
  } catch (error) {
    const failure = asLotusError(error);
    const { message, code, status, cause } = failure;
    if (status >= 500) batch.session.log.error({ input: task.file, code, err: cause }, message);
    return failedRow(task.file, failure);
  }
}

async function infer(image: Planned, batch: Batch): Promise<Row> {
  const { destination, options, session, model, signal } = batch;
  const { name: modelName, prediction } = session.config.model;
  if (model === null) throw new Error('there is a file, and no model was loaded');
  const { save, end } = await destination.begin(image);
  const { files, facts } = await inferImage(
    await readInput(image),
    options,
    (format) => image.paths[options.output_formats.indexOf(format)] ?? '',
    { model, modelName, prediction, signal },
    save,
  );
  const outputs = files.map((file) => destination.shown(file.path));
  const warnings = [...facts.warnings, ...(await end(facts))];
  return { input: image.file, ok: true, outputs, ...facts, warnings };
}

/** The row of an image whose maps are there. */
export function skippedRow({ file, paths, polarity }: Done, { shown }: Destination): SkippedRow {
  return { input: file, ok: true, skipped: true, outputs: paths.map(shown), polarity };
}

/** The row of an input of which nothing was made. */
export function failedRow(input: string, error: LotusError): Row {
  return { input, ok: false, outputs: [], ...failureOf(error) };
}

function show(row: Row, { json, destination, session: { terminal } }: Batch): void {
  if (json) {
    terminal.result(JSON.stringify(row));
  } else if (!row.ok) {
    terminal.note(`${row.input}: ${row.error} [${row.code}]`);
  } else if (!('skipped' in row)) {
    const { total = 0, wait = 0 } = row.timings_ms;
    const seconds = ((total - wait) / 1000).toFixed(1);
    const what = `${row.width}x${row.height}, ${seconds} s`;
    const line = `${row.input} -> ${row.outputs.join(', ')}  (${what})`;
    if (destination.takesStandardOutput) terminal.note(line);
    else terminal.result(line);
    for (const warning of row.warnings) terminal.note(`${row.input}: ${warning}`);
  }
}
