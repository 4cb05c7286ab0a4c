import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { encodePng, encodePng16 } from '../../src/image/encode.ts';

/** The fields of a PNG's header, which is its first chunk. */
function header(png: Buffer) {
  expect(png.toString('latin1', 1, 4)).toBe('PNG');
  expect(png.toString('latin1', 12, 16)).toBe('IHDR');
  return {
    width: png.readUInt32BE(16),
    height: png.readUInt32BE(20),
    depth: png[24],
    colourType: png[25],
    interlace: png[28],
  };
}

const encodeGrey = (pixels: Uint8Array, width: number, height: number) =>
  encodePng({ pixels, width, height, channels: 1 });

async function decode(png: Buffer): Promise<number[]> {
  return [...(await sharp(png).extractChannel(0).raw().toBuffer())];
}

const map = fc
  .record({ width: fc.integer({ min: 1, max: 40 }), height: fc.integer({ min: 1, max: 40 }) })
  .chain(({ width, height }) => {
    const length = width * height;
    return fc.record({
      width: fc.constant(width),
      height: fc.constant(height),
      pixels: fc.uint8Array({ minLength: length, maxLength: length }),
    });
  });

describe('encodePng of one channel', () => {
  it('writes one channel of 8 bits', async () => {
    const png = await encodeGrey(Uint8Array.of(0, 1, 2, 253, 254, 255), 3, 2);
    expect(header(png)).toEqual({ width: 3, height: 2, depth: 8, colourType: 0, interlace: 0 });
  });

  it('keeps every value that a pixel can have', async () => {
    const pixels = Uint8Array.from({ length: 256 }, (_, i) => i);
    expect(await decode(await encodeGrey(pixels, 16, 16))).toEqual([...pixels]);
  });

  it('stays grey and of 8 bits where black and white would do', async () => {
    const png = await encodeGrey(Uint8Array.of(0, 255, 255, 0), 2, 2);
    expect(header(png)).toMatchObject({ depth: 8, colourType: 0 });
  });

  it('takes a single pixel', async () => {
    const png = await encodeGrey(Uint8Array.of(7), 1, 1);
    expect(header(png)).toMatchObject({ width: 1, height: 1 });
    expect(await decode(png)).toEqual([7]);
  });

  it('decodes to the same pixels, whatever they are', async () => {
    await fc.assert(
      fc.asyncProperty(map, async ({ pixels, width, height }) => {
        const png = await encodeGrey(pixels, width, height);
        expect(header(png)).toMatchObject({ width, height, depth: 8, colourType: 0 });
        expect(await decode(png)).toEqual([...pixels]);
      }),
      { numRuns: 40 },
    );
  });

  it('gives the same bytes for the same pixels', async () => {
    const pixels = Uint8Array.from({ length: 100 * 80 }, (_, i) => (i * i) % 251);
    const first = await encodeGrey(pixels, 100, 80);
    const second = await encodeGrey(Uint8Array.from(pixels), 100, 80);
    expect(second.equals(first)).toBe(true);
  });

  it('reads the pixels of a view, not of the memory behind it', async () => {
    const memory = Uint8Array.of(9, 9, 1, 2, 3, 9);
    expect(await decode(await encodeGrey(memory.subarray(2, 5), 3, 1))).toEqual([1, 2, 3]);
  });

  it('refuses too few pixels', async () => {
    await expect(encodeGrey(new Uint8Array(5), 3, 2)).rejects.toThrow('6 bytes');
  });
});

describe('encodePng16', () => {
  it('writes one channel of 16 bits, and keeps every value that a pixel can have', async () => {
    const values = Uint16Array.from({ length: 65_536 }, (_, i) => i);
    const png = await encodePng16({
      pixels: new Uint8Array(values.buffer),
      width: 256,
      height: 256,
      channels: 1,
    });
    expect(header(png)).toEqual({
      width: 256,
      height: 256,
      depth: 16,
      colourType: 0,
      interlace: 0,
    });
    const decoded = await sharp(png).toColourspace('grey16').raw({ depth: 'ushort' }).toBuffer();
    expect(decoded.equals(Buffer.from(values.buffer))).toBe(true);
  });

  it('takes bytes wherever they lie in memory', async () => {
    const memory = Uint8Array.of(9, 1, 2, 3, 4);
    const png = await encodePng16({ pixels: memory.subarray(1), width: 2, height: 1, channels: 1 });
    const decoded = await sharp(png).toColourspace('grey16').raw({ depth: 'ushort' }).toBuffer();
    expect([...decoded]).toEqual([1, 2, 3, 4]);
  });
});

describe('encodePng16 of three channels', () => {
  it('keeps all three', async () => {
    const values = Uint16Array.from([1, 256, 65_535, 40_000, 0, 7]);
    const pixels = new Uint8Array(values.buffer);
    const png = await encodePng16({ pixels, width: 2, height: 1, channels: 3 });
    expect(header(png)).toMatchObject({ depth: 16, colourType: 2 });
    const decoded = await sharp(png).toColourspace('rgb16').raw({ depth: 'ushort' }).toBuffer();
    expect(decoded.equals(pixels)).toBe(true);
  });
});

describe('encodePng of three channels', () => {
  it('writes three channels of 8 bits, and the same pixels decode', async () => {
    const pixels = Buffer.from(Array.from({ length: 7 * 5 * 3 }, (_, i) => (i * 37) % 256));
    const png = await encodePng({ pixels, width: 7, height: 5, channels: 3 });
    expect(header(png)).toMatchObject({ width: 7, height: 5, depth: 8, colourType: 2 });
    expect((await sharp(png).raw().toBuffer()).equals(pixels)).toBe(true);
  });

  it('keeps colour where all pixels are grey', async () => {
    const png = await encodePng({
      pixels: Buffer.alloc(4 * 4 * 3, 9),
      width: 4,
      height: 4,
      channels: 3,
    });
    expect(header(png)).toMatchObject({ depth: 8, colourType: 2 });
  });
});
