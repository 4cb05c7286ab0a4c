import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { COLORMAPS } from '../../src/image/colormap.ts';
import { contactSheet, MAX_ROWS, type SheetRow } from '../../src/image/contact-sheet.ts';
import type { DecodedImage } from '../../src/image/decode.ts';
import { encodePng } from '../../src/image/encode.ts';

const WHITE = [255, 255, 255];
const BLUE = [20, 40, 200];
/** Where a cell of 320 begins, with margins of 8. */
const LEFT = [8, 336, 664] as const;

/** A picture of one colour. */
async function plain(width: number, height: number, [r = 0, g = 0, b = 0] = BLUE): Promise<Buffer> {
  const create = { width, height, channels: 3 as const, background: { r, g, b } };
  return await sharp({ create }).png().toBuffer();
}

/** A map of one grey. */
async function greyMap(width: number, height: number, grey: number): Promise<Buffer> {
  return await encodePng({
    pixels: Buffer.alloc(width * height, grey),
    width,
    height,
    channels: 1,
  });
}

async function row(width: number, height: number, grey = 255): Promise<SheetRow> {
  return {
    image: await plain(width, height),
    map: await greyMap(width, height, grey),
    isNearBright: true,
  };
}

/** A ramp and its map, with every grey there is. */
async function ramp(): Promise<SheetRow> {
  const pixels = Uint8Array.from({ length: 256 * 192 }, (_, i) => i % 256);
  const map = await encodePng({ pixels, width: 256, height: 192, channels: 1 });
  return { image: map, map, isNearBright: true };
}

function at({ pixels, width }: DecodedImage, x: number, y: number): number[] {
  return [...pixels.subarray((y * width + x) * 3, (y * width + x + 1) * 3)];
}

describe('a contact sheet', () => {
  it('has a row for each image: itself, its map, and its map in colour', async () => {
    const sheet = await contactSheet([await row(640, 480), await row(300, 100, 0)]);
    expect(sheet).toMatchObject({ width: 992, height: 8 + 240 + 8 + 107 + 8 });
    const middles = (y: number) => LEFT.map((x) => at(sheet, x + 160, y));
    expect(middles(128)).toEqual([BLUE, WHITE, [158, 1, 66]]);
    expect(middles(310)).toEqual([BLUE, [0, 0, 0], [94, 79, 162]]);
  });

  it('has margins around its cells, and nothing in them', async () => {
    const sheet = await contactSheet([await row(640, 480, 100), await row(640, 480, 100)]);
    for (const [i, left] of LEFT.entries()) {
      for (const top of [8, 256]) {
        const inside = at(sheet, left + 1, top + 1);
        expect(inside).toEqual([BLUE, [100, 100, 100], inside][i]);
        expect(inside).not.toEqual(WHITE);
        for (const x of [left, left + 319]) expect(at(sheet, x, top + 120)).toEqual(inside);
        for (const y of [top, top + 239]) expect(at(sheet, left + 160, y)).toEqual(inside);
        for (const x of [left - 1, left + 320]) expect(at(sheet, x, top + 120)).toEqual(WHITE);
        for (const y of [top - 1, top + 240]) expect(at(sheet, left + 160, y)).toEqual(WHITE);
      }
    }
  });

  it('colours a map by what its grey means', async () => {
    const bright = await row(64, 48);
    const sheet = await contactSheet([bright, { ...bright, isNearBright: false }]);
    expect(at(sheet, 824, 128)).toEqual([158, 1, 66]);
    expect(at(sheet, 824, 376)).toEqual([94, 79, 162]);
  });

  it('shows normals as they are, and nothing beside them', async () => {
    const pixels = Buffer.alloc(64 * 48 * 3).map((_, i) => [10, 200, 90][i % 3] ?? 0);
    const map = await encodePng({ pixels, width: 64, height: 48, channels: 3 });
    const { image } = await row(64, 48);
    const sheet = await contactSheet([{ image, map, isNearBright: null }]);
    expect(at(sheet, 496, 128)).toEqual([10, 200, 90]);
    expect(at(sheet, 824, 128)).toEqual(WHITE);
  });

  it("has no colour in it that is not the colormap's", async () => {
    const sheet = await contactSheet([await ramp()]);
    const { colours } = COLORMAPS.Spectral;
    const known = new Set(
      Array.from({ length: 256 }, (_, i) => colours.subarray(3 * i, 3 * i + 3).join()),
    );
    const seen = new Set(
      Array.from({ length: 320 }, (_, x) => at(sheet, (LEFT[2] ?? 0) + x, 100).join()),
    );
    expect(seen.size).toBeGreaterThan(200);
    expect([...seen].filter((colour) => !known.has(colour))).toEqual([]);
  });

  it('shows an image the way up that its EXIF says, and its map beside it', async () => {
    // Dark above and bright below as it is stored; orientation 6 turns it by a quarter, clockwise.
    const stored = Buffer.alloc(640 * 480 * 3, 20).fill(230, 640 * 240 * 3);
    const image = await sharp(stored, { raw: { width: 640, height: 480, channels: 3 } })
      .jpeg()
      .withMetadata({ orientation: 6 })
      .toBuffer();
    const map = await greyMap(480, 640, 90);
    const sheet = await contactSheet([{ image, map, isNearBright: true }]);
    expect(sheet.height).toBe(8 + 427 + 8);
    const bright = (x: number, y: number) => (at(sheet, x, y)[0] ?? 0) > 128;
    expect([bright(28, 100), bright(28, 400)]).toEqual([true, true]);
    expect([bright(308, 100), bright(308, 400)]).toEqual([false, false]);
    expect([at(sheet, 340, 12), at(sheet, 650, 430)]).toEqual(Array(2).fill([90, 90, 90]));
  });

  it('makes a map of another size as large as its image', async () => {
    const image = await plain(640, 480);
    const map = await greyMap(96, 80, 90);
    const sheet = await contactSheet([{ image, map, isNearBright: true }]);
    expect(sheet.height).toBe(256);
    expect([at(sheet, 337, 9), at(sheet, 654, 246)]).toEqual(Array(2).fill([90, 90, 90]));
  });

  it('shows what is very tall narrower, in the middle of its cell, and what is very wide flat', async () => {
    const sheet = await contactSheet([await row(10, 4000), await row(4000, 4)]);
    expect(sheet.height).toBe(8 + 640 + 8 + 1 + 8);
    expect([166, 167, 168, 169].map((x) => at(sheet, x, 300))).toEqual([WHITE, BLUE, BLUE, WHITE]);
    expect(at(sheet, 160, 656)).toEqual(BLUE);
  });

  it('is of the first images where there are too many, and takes no more of them', async () => {
    const one = await row(32, 24);
    let taken = 0;
    function* endless() {
      for (;;) {
        taken += 1;
        yield one;
      }
    }
    const sheet = await contactSheet(endless());
    expect(taken).toBe(MAX_ROWS);
    expect(sheet.height).toBe(8 + MAX_ROWS * 248);
  });

  it('has the same bytes for the same files', async () => {
    const [first, second] = await Promise.all(
      [1, 2].map(
        async () => await encodePng({ ...(await contactSheet([await ramp()])), channels: 3 }),
      ),
    );
    expect(first?.equals(second ?? Buffer.alloc(0))).toBe(true);
  });

  it('refuses an image that is damaged', async () => {
    const { image, map } = await row(640, 480);
    const cut = { image: image.subarray(0, image.length / 2), map, isNearBright: true };
    await expect(contactSheet([cut])).rejects.toMatchObject({ code: 'invalid_image' });
  });
});
