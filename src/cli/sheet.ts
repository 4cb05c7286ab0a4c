import { readFile, realpath } from 'node:fs/promises';
import path from 'node:path';
import { UsageError } from '../errors.ts';
import { contactSheet, MAX_ROWS, type SheetRow } from '../image/contact-sheet.ts';
import { encodePng } from '../image/encode.ts';
import { saveFile } from '../job/run.ts';
import type { Row } from './batch.ts';
import { SHEET_NAME } from './infer-options.ts';
import type { OutputFolder } from './output-folder.ts';
import type { Task } from './plan.ts';

/**
 * Where a contact sheet goes.
 *
 * @param name as `--contact-sheet` has it; true: no name.
 * @throws UsageError when it is no name of a PNG, or an input's or a map's.
 */
export async function placeSheet(
  name: string | true,
  { real, ledger }: OutputFolder,
  tasks: readonly Task[],
): Promise<string> {
  const file = path.join(real, name === true ? SHEET_NAME : name);
  if (path.dirname(file) !== real || path.extname(file).toLowerCase() !== '.png') {
    throw new UsageError(
      `--contact-sheet ${name}: give it the name that a PNG is to have in the output folder, or write it behind the paths`,
    );
  }
  const there = await realpath(file).catch(() => null);
  const inputs = await Promise.all(tasks.map((task) => realpath(task.file).catch(() => '')));
  if (there !== null && inputs.includes(there)) {
    throw new UsageError(`--contact-sheet: ${file} is an input; give the sheet another name`);
  }
  if (ledger.isOfAnother(file, file)) {
    throw new UsageError(`--contact-sheet: ${file} is an image's map; give the sheet another name`);
  }
  return file;
}

/** The rows of a sheet, for the first inputs that have maps. */
export async function* sheetRows(rows: readonly Row[]): AsyncGenerator<SheetRow> {
  for (const row of rows.filter(({ ok }) => ok).slice(0, MAX_ROWS)) {
    const [png] = row.outputs;
    if (!row.ok || png === undefined) throw new Error('png is always made, and first');
    const [image, map] = await Promise.all([readFile(row.input), readFile(png)]);
    const isNearBright = row.polarity === null ? null : row.polarity === 'near-bright';
    yield { image, map, isNearBright };
  }
}

/**
 * Write the contact sheet of the first inputs that have maps.
 *
 * @throws LotusError `internal`, saying which and why.
 */
export async function saveSheet(file: string, rows: readonly Row[]): Promise<void> {
  const bytes = await encodePng({ ...(await contactSheet(sheetRows(rows))), channels: 3 });
  await saveFile({ path: file, bytes });
}
