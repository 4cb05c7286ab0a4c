import { COLORMAPS, inColour, isReversed } from './colormap.ts';
import { type DecodedImage, decodeImage } from './decode.ts';
import { scale } from './scale.ts';

/** Of a cell, pixels. Three of them are about as wide as a page of GitHub's shows a picture. */
const CELL_WIDTH = 320;
/** Twice as tall as wide is a phone's; what is taller is shown narrower. */
const MAX_CELL_HEIGHT = 2 * CELL_WIDTH;
const MARGIN = 8;
const COLUMNS = 3;
const WIDTH = COLUMNS * (CELL_WIDTH + MARGIN) + MARGIN;
const WHITE = 255;
const COLORMAP = COLORMAPS.Spectral;

/** The tallest sheet is 992 x 12968 pixels: 39 MB, and twice that while it is put together. */
export const MAX_ROWS = 20;

/** An image and its map, as files have them. */
export interface SheetRow {
  readonly image: Uint8Array;
  /** Grey, or the colours of normals. */
  readonly map: Uint8Array;
  /** Null of normals. */
  readonly isNearBright: boolean | null;
}

/**
 * A row for each image: itself, the way up that its EXIF says, its map, and but for normals the map in colour. Cells are equally wide
 * and keep the image's proportions; a map of another size is scaled to its image. The same rows give the same pixels.
 *
 * One row is taken at a time, so that it takes memory for one image and for the sheet. After `MAX_ROWS` no more are
 * taken: the sheet is of the first ones.
 *
 * @throws LotusError as `decodeImage`.
 */
export async function contactSheet(
  rows: Iterable<SheetRow> | AsyncIterable<SheetRow>,
): Promise<DecodedImage> {
  const strips = [blank(MARGIN)];
  for await (const row of rows) {
    strips.push(await strip(row), blank(MARGIN));
    if (strips.length > 2 * MAX_ROWS) break;
  }
  const pixels = Buffer.concat(strips);
  return { pixels, width: WIDTH, height: pixels.length / (WIDTH * 3) };
}

/** The three cells of a row beside each other, as wide as the sheet. */
async function strip({ image, map, isNearBright }: SheetRow): Promise<Buffer> {
  const shown = await decodeImage(image);
  const size = cellSize(shown);
  const photo = await scale(shown, size);
  const shownMap = await scale(await decodeImage(map), size);
  const cells = [photo.pixels, shownMap.pixels];
  if (isNearBright !== null) cells.push(coloured(shownMap, isNearBright));
  const pixels = blank(size.height);
  const inset = Math.floor((CELL_WIDTH - size.width) / 2);
  for (const [column, cell] of cells.entries()) {
    const left = MARGIN + column * (CELL_WIDTH + MARGIN) + inset;
    for (let y = 0; y < size.height; y += 1) {
      const from = y * size.width * 3;
      cell.copy(pixels, (y * WIDTH + left) * 3, from, from + size.width * 3);
    }
  }
  return pixels;
}

/** After scaling: every colour is one of the colormap's, and none a mixture of near and far. */
function coloured({ pixels }: DecodedImage, isNearBright: boolean): Buffer {
  const values = pixels.filter((_, i) => i % 3 === 0);
  const entries = isReversed(COLORMAP, isNearBright) ? values.map((value) => 255 - value) : values;
  return inColour(entries, COLORMAP);
}

function cellSize({ width, height }: DecodedImage): { width: number; height: number } {
  const factor = Math.min(CELL_WIDTH / width, MAX_CELL_HEIGHT / height);
  const scaled = (edge: number) => Math.max(1, Math.round(edge * factor));
  return { width: scaled(width), height: scaled(height) };
}

function blank(height: number): Buffer {
  return Buffer.alloc(WIDTH * height * 3, WHITE);
}
