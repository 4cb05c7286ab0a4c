import path from 'node:path';
import { SAMPLE_ROOT } from '../app.ts';
import { contactSheet, type SheetRow } from '../image/contact-sheet.ts';
import type { DecodedImage } from '../image/decode.ts';
import { scale } from '../image/scale.ts';
import type { Row } from './batch.ts';
import { halfBlocks } from './half-blocks.ts';
import { infer } from './infer.ts';
import { type InferFlags, SHEET_NAME } from './infer-options.ts';
import { sheetRows } from './sheet.ts';
import { hasTrueColour, Terminal } from './terminal.ts';

/** About what the sample model was trained at, long edge. The default, 768, is the released models'. */
const PROCESSING_RES = 192;

/** Of the picture on a terminal, at most: so many images at this width are thirty lines, seen at a glance. */
const MAX_COLUMNS = 78;
const SHOWN = 3;

export interface DemoFlags {
  output: string;
  json?: boolean;
}

/** `lotus-worker demo`: the sample model on the sample images. Returns the exit code. */
export async function demo(flags: DemoFlags): Promise<number> {
  const { code, rows } = await inferSamples({ ...flags, contactSheet: true });
  if (code !== 0 || flags.json) return code;
  const terminal = new Terminal();
  if (hasTrueColour(process.stderr.isTTY, process.env))
    await show(await contactSheet(rows.slice(0, SHOWN)));
  const dir = path.resolve(flags.output);
  terminal.note(
    `The maps are in ${dir}, and all of them at a glance in ${path.join(dir, SHEET_NAME)}.\n` +
      'The model is a small one, trained on drawn scenes for demonstration. Real ones are much better:\n' +
      'lotus-worker infer photo.jpg --output depth',
  );
  return code;
}

/** A map for each of the sample images, and a row of a contact sheet for each that went well. */
export async function inferSamples(flags: InferFlags): Promise<{ code: number; rows: SheetRow[] }> {
  const rows: Row[] = [];
  const code = await infer(
    [path.join(SAMPLE_ROOT, 'images')],
    // Computed each time, for that is what is shown. Scaled back so far, nearest would show blocks.
    {
      ...flags,
      force: true,
      sample: true,
      processingRes: PROCESSING_RES,
      upsampleMethod: 'bilinear',
    },
    (row) => rows.push(row),
  );
  const shown: SheetRow[] = [];
  for await (const row of sheetRows(rows)) shown.push(row);
  return { code, rows: shown };
}

/** The sheet in half blocks, on standard error. */
async function show(sheet: DecodedImage): Promise<void> {
  // One column less than there is, as Terminal has it.
  const width = Math.max(1, Math.min(MAX_COLUMNS, (process.stderr.columns || 80) - 1));
  const height = Math.max(1, Math.round((sheet.height * width) / sheet.width));
  process.stderr.write(halfBlocks(await scale(sheet, { width, height })));
}
