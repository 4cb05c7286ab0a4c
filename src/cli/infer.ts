import path from 'node:path';
import { isCancelled, LotusError, UsageError } from '../errors.ts';
import { MAX_ROWS } from '../image/contact-sheet.ts';
import type { JobOptions, OutputFormat } from '../job/schema.ts';
import type { Model } from '../worker/model.ts';
import { type Destination, type Done, failedRow, inferAll, type Row, skippedRow } from './batch.ts';
import {
  checkShown,
  type InferFlags,
  readOptions,
  readTarget,
  SHEET_NAME,
} from './infer-options.ts';
import { findImages } from './inputs.ts';
import type { How } from './ledger.ts';
import { identifyModel } from './model-identity.ts';
import { findDone, intoFolder, openOutputFolder } from './output-folder.ts';
import { planOutputs, type Task } from './plan.ts';
import { interruptSignal, openSession, type Session, startModel } from './session.ts';
import { placeSheet, saveSheet } from './sheet.ts';
import { intoStandardOutput } from './standard-output.ts';
import { Terminal } from './terminal.ts';

/**
 * `lotus-worker infer`: a map for each image that has none yet.
 *
 * @param onRow gets what became of each input, too.
 * @returns the exit code: 0 all well, 1 some failed.
 * @throws UsageError, SetupError, or LotusError when the model cannot be loaded, or `cancelled`.
 */
export async function infer(
  paths: readonly string[],
  flags: InferFlags,
  onRow: (row: Row) => void = () => {},
): Promise<number> {
  const options = readOptions(flags);
  const target = readTarget(paths, flags);
  const session = await openSession(flags, new Terminal());
  checkShown(options, session.config.model.prediction);
  const work =
    target.to === 'folder'
      ? await forFolder(target.dir, paths, options, flags, session)
      : await forStandardOutput(target.format, paths, options);
  const { tasks, destination, sheet } = work;
  const shown: Row[] = [];
  const signal = interruptSignal();
  const model = await startFor(work, session, flags, signal);
  let code: number;
  try {
    const see = (row: Row) => {
      if (row.ok && shown.length < MAX_ROWS) shown.push(row);
      onRow(row);
    };
    code = await inferAll({
      tasks,
      destination,
      options,
      json: flags.json === true,
      onRow: see,
      session,
      model,
      signal,
    });
  } finally {
    await model?.stop();
  }
  if (sheet !== null && shown.length > 0) {
    await saveSheet(sheet, shown);
    session.terminal.note(`The contact sheet is ${destination.shown(sheet)}`);
  }
  return code;
}

/** What there is to do. */
interface Work {
  tasks: (Task | Done)[];
  destination: Destination;
  /** Where the contact sheet goes. */
  sheet: string | null;
}

async function forFolder(
  dir: string,
  paths: readonly string[],
  options: JobOptions,
  flags: InferFlags,
  { config, env }: Session,
): Promise<Work> {
  const folder = await openOutputFolder(dir);
  const { real: output, ledger } = folder;
  const reserved = [path.join(output, SHEET_NAME)];
  const name = flags.contactSheet;
  if (typeof name === 'string') reserved.push(path.join(output, name));
  const inputs = await findImages(paths, output);
  const tasks = await planOutputs(inputs, options.output_formats, { output, ledger, reserved });
  const sheet = name === undefined ? null : await placeSheet(name, folder, tasks);
  let known: How | null = null;
  // Once more when the model runs: it may have been downloaded for it.
  const how = async () => {
    const model = known ? null : await identifyModel(config, env);
    if (model) known = { options, model };
    return known;
  };
  const isKnown = flags.force ? null : await how();
  return {
    tasks: isKnown ? await findDone(tasks, folder, isKnown) : tasks,
    destination: intoFolder(folder, how),
    sheet,
  };
}

async function forStandardOutput(
  format: OutputFormat,
  paths: readonly string[],
  options: JobOptions,
): Promise<Work> {
  const inputs = await findImages(paths, null);
  const [input] = inputs;
  if (input === undefined || inputs.length > 1) {
    throw new UsageError(
      `--output - takes one image, and there are ${inputs.length}: name an output folder`,
    );
  }
  const nowhere = options.output_formats.map(() => '');
  const task = 'error' in input ? input : { ...input, itself: input.file, paths: nowhere };
  return { tasks: [task], destination: intoStandardOutput(format), sheet: null };
}

/** The model; null where there is nothing to run it on. */
async function startFor(
  { tasks, destination }: Work,
  session: Session,
  { json }: InferFlags,
  signal: AbortSignal,
): Promise<Model | null> {
  const maxProcesses = tasks.filter((task) => !('error' in task || 'polarity' in task)).length;
  if (maxProcesses === 0) return null;
  try {
    return await startModel(session, signal, { maxProcesses });
  } catch (error) {
    if (json && error instanceof LotusError && !isCancelled(error)) {
      for (const task of tasks) {
        const row =
          'polarity' in task
            ? skippedRow(task, destination)
            : failedRow(task.file, 'error' in task ? task.error : error);
        session.terminal.result(JSON.stringify(row));
      }
    }
    throw error;
  }
}
