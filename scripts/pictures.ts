/**
 * `npm run pictures`: makes the README's pictures anew from the sample model and the sample images, in
 * `docs/pictures/` or the folder that is named.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { inferSamples } from '../src/cli/demo.ts';
import { contactSheet } from '../src/image/contact-sheet.ts';
import { sharp } from '../src/image/libvips.ts';
import { writeWhole } from '../src/storage/files.ts';

const { argv, stdout } = process;
const FOLDER = argv[2] ?? path.join(import.meta.dirname, '..', 'docs', 'pictures');

/** A repository keeps each version of a picture for ever. */
const MAX_BYTES = 500_000;

const maps = await mkdtemp(path.join(os.tmpdir(), 'lotus-worker-pictures-'));
try {
  const { code, rows } = await inferSamples({ output: maps });
  if (code !== 0) throw new Error('a map is missing; what is above says why');
  const { pixels, width, height } = await contactSheet(rows);
  // JPEG, for photographs would be large as PNG; with all of the colour, for the maps' edges are nothing else.
  const bytes = await sharp(pixels, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 85, chromaSubsampling: '4:4:4' })
    .toBuffer();
  const file = path.join(FOLDER, 'contact-sheet.jpg');
  if (bytes.length > MAX_BYTES) {
    throw new Error(`${file} would have ${bytes.length} bytes; at most ${MAX_BYTES} go into git`);
  }
  await writeWhole(file, bytes);
  stdout.write(`wrote ${path.relative('', file)}: ${width}x${height}, ${bytes.length} bytes\n`);
} finally {
  await rm(maps, { recursive: true, force: true });
}
