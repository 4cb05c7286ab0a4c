/**
 * `npm run pictures`: makes the pictures of the README and the docs anew from the sample model and the sample images, in
 * `docs/pictures/` or the folder that is named.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { inferSamples } from '../src/cli/demo.ts';
import { COLORMAP_NAMES, COLORMAPS, inColour, isReversed } from '../src/image/colormap.ts';
import { contactSheet, type SheetRow } from '../src/image/contact-sheet.ts';
import { type DecodedImage, decodeImage } from '../src/image/decode.ts';
import { encodePng } from '../src/image/encode.ts';
import { sharp } from '../src/image/libvips.ts';
import { scale } from '../src/image/scale.ts';
import { writeWhole } from '../src/storage/files.ts';

const { argv, stdout } = process;
const FOLDER = argv[2] ?? path.join(import.meta.dirname, '..', 'docs', 'pictures');

/** A repository keeps each version of a picture for ever. */
const MAX_BYTES = 500_000;

/** Of the picture of all formats, pixels. */
const CELL = 320;
const MARGIN = 8;
const COLUMNS = 3;

const maps = await mkdtemp(path.join(os.tmpdir(), 'lotus-worker-pictures-'));
try {
  const { code, rows } = await inferSamples({ output: maps });
  if (code !== 0) throw new Error('a map is missing; what is above says why');
  await save('contact-sheet.jpg', await contactSheet(rows));
  const [first] = rows;
  if (first) await save('outputs.jpg', await views(first));
} finally {
  await rm(maps, { recursive: true, force: true });
}

/** An image, its map both ways, and in every colormap: as `docs/outputs.md` has them. */
async function views({ image, map, isNearBright }: SheetRow): Promise<DecodedImage> {
  const grey = await decodeImage(map);
  const values = grey.pixels.filter((_, i) => i % 3 === 0);
  const near = isNearBright ? values : values.map((value) => 255 - value);
  const far = near.map((value) => 255 - value);
  const size = { width: CELL, height: Math.round((CELL * grey.height) / grey.width) };
  const cell = async (picture: DecodedImage) =>
    encodePng({ ...(await scale(picture, size)), channels: 3 });
  const shown = (entries: Uint8Array, name: keyof typeof COLORMAPS) =>
    cell({ ...grey, pixels: inColour(entries, COLORMAPS[name]) });
  const cells = [
    cell(await decodeImage(image)),
    shown(near, 'gray'),
    shown(far, 'gray'),
    ...COLORMAP_NAMES.map((name) => shown(isReversed(COLORMAPS[name], true) ? far : near, name)),
  ];
  const join = { across: COLUMNS, shim: MARGIN, background: '#fff' };
  const { data, info } = await sharp(await Promise.all(cells), { join })
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { pixels: data, width: info.width, height: info.height };
}

/** JPEG, for photographs would be large as PNG; with all of the colour, for the maps' edges are nothing else. */
async function save(name: string, { pixels, width, height }: DecodedImage): Promise<void> {
  const bytes = await sharp(pixels, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 85, chromaSubsampling: '4:4:4' })
    .toBuffer();
  const file = path.join(FOLDER, name);
  if (bytes.length > MAX_BYTES) {
    throw new Error(`${file} would have ${bytes.length} bytes; at most ${MAX_BYTES} go into git`);
  }
  await writeWhole(file, bytes);
  stdout.write(`wrote ${path.relative('', file)}: ${width}x${height}, ${bytes.length} bytes\n`);
}
