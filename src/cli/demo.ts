import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { SAMPLE_ROOT } from '../app.ts';
import { LotusError, messageOf } from '../errors.ts';
import { contactSheet, type SheetRow } from '../image/contact-sheet.ts';
import type { DecodedImage } from '../image/decode.ts';
import { encodePng } from '../image/encode.ts';
import { scale } from '../image/scale.ts';
import { writeWhole } from '../storage/files.ts';
import { halfBlocks } from './half-blocks.ts';
import { infer, type Row } from './infer.ts';
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
  const { code, rows } = await inferSamples(flags);
  if (code !== 0) return code;
  const file = path.resolve(flags.output, 'contact-sheet.png');
  await save(file, await encodePng({ ...(await contactSheet(rows)), channels: 3 }));
  if (flags.json) return code;
  const terminal = new Terminal();
  if (hasTrueColour(process.stderr.isTTY, process.env))
    await show(await contactSheet(rows.slice(0, SHOWN)));
  terminal.note(
    `The maps are in ${path.resolve(flags.output)}, and all of them at a glance in ${file}.\n` +
      'The model is a small one, trained on drawn scenes for demonstration. Real ones are much better:\n' +
      'lotus-worker infer photo.jpg --output depth',
  );
  return code;
}

/** A map for each of the sample images, and a row of a contact sheet for each that went well. */
export async function inferSamples(flags: DemoFlags): Promise<{ code: number; rows: SheetRow[] }> {
  const rows: Row[] = [];
  const code = await infer(
    [path.join(SAMPLE_ROOT, 'images')],
    // Scaled back so far, nearest would show blocks.
    { ...flags, sample: true, processingRes: PROCESSING_RES, upsampleMethod: 'bilinear' },
    (row) => rows.push(row),
  );
  return { code, rows: (await Promise.all(rows.map(readRow))).flat() };
}

async function readRow(row: Row): Promise<SheetRow[]> {
  if (!row.ok) return [];
  const png = row.files.find(({ format }) => format === 'png');
  if (!png) throw new Error('png is always made');
  const [image, map] = await Promise.all([readFile(row.input), readFile(png.file_path)]);
  return [{ image, map, isNearBright: row.polarity === 'near-bright' }];
}

async function save(file: string, bytes: Uint8Array): Promise<void> {
  await writeWhole(file, bytes).catch((error) => {
    throw new LotusError('internal', `Cannot save ${file}: ${messageOf(error)}.`, { cause: error });
  });
}

/** The sheet in half blocks, on standard error. */
async function show(sheet: DecodedImage): Promise<void> {
  // One column less than there is, as Terminal has it.
  const width = Math.max(1, Math.min(MAX_COLUMNS, (process.stderr.columns || 80) - 1));
  const height = Math.max(1, Math.round((sheet.height * width) / sheet.width));
  process.stderr.write(halfBlocks(await scale(sheet, { width, height })));
}
