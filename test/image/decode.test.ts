import { readFile } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import sharp, { type Sharp } from 'sharp';
import { describe, expect, it } from 'vitest';
import { LotusError } from '../../src/errors.ts';
import { decodeImage, refusalOf } from '../../src/image/decode.ts';
import { IMAGES } from '../cli/cli.ts';
import { makeProgressive, segment, withSegments } from '../corpus/jpeg.ts';
import {
  chunk,
  GREY,
  GREY_ALPHA,
  makeBlack,
  makeHollow,
  makePng,
  PALETTE,
  PNG_SIGNATURE,
  profileChunk,
  RGB,
  RGBA,
} from '../corpus/png.ts';

/** One row of pixels as a PNG. */
const makeRow = (
  width: number,
  depth: number,
  colourType: number,
  samples: number[],
  ...between: Buffer[]
) => makePng({ width, height: 1, depth, colourType, rows: Uint8Array.of(0, ...samples), between });

/** The bytes of an ICC profile that sharp has. */
async function profile(name: 'srgb' | 'p3'): Promise<Buffer> {
  const png = await plain('#000').withIccProfile(name).png().toBuffer();
  const { icc } = await sharp(png).metadata();
  if (!icc) throw new Error(`no profile ${name}`);
  return icc;
}

const plain = (background: string) =>
  sharp({ create: { width: 8, height: 8, channels: 3, background } });

/** A smooth picture, no two corners of it alike. */
const WIDTH = 48;
const HEIGHT = 32;
const SMOOTH = Buffer.from(
  Array.from({ length: WIDTH * HEIGHT }, (_, i) => {
    const [x, y] = [i % WIDTH, Math.floor(i / WIDTH)];
    return [x * 5, y * 8, 255 - x * 3];
  }).flat(),
);
const smooth = () => sharp(SMOOTH, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } });

const encoders = {
  jpeg: (image: Sharp) => image.jpeg({ quality: 100, chromaSubsampling: '4:4:4' }),
  png: (image: Sharp) => image.png(),
  webp: (image: Sharp) => image.webp({ lossless: true }),
};
type Kind = keyof typeof encoders;
const KINDS = Object.keys(encoders) as Kind[];

const encode = async (kind: Kind, image: Sharp = smooth()) =>
  await encoders[kind](image).toBuffer();

async function decodeToNumbers(bytes: Uint8Array): Promise<number[]> {
  return [...(await decodeImage(bytes)).pixels];
}

function expectClose(pixels: Iterable<number>, wanted: Iterable<number>, tolerance: number): void {
  const [is, should] = [[...pixels], [...wanted]];
  expect(is).toHaveLength(should.length);
  const worst = Math.max(...is.map((value, i) => Math.abs(value - (should[i] ?? Number.NaN))));
  expect(worst).toBeLessThanOrEqual(tolerance);
}

async function refusal(bytes: Uint8Array): Promise<LotusError> {
  const error: unknown = await decodeImage(bytes).then(
    () => new Error('it was decoded'),
    (reason) => reason,
  );
  if (!(error instanceof LotusError)) throw error;
  return error;
}

describe('decodeImage', () => {
  it.each(['png', 'webp'] as const)('gives the very pixels of a lossless %s', async (kind) => {
    const { pixels, width, height } = await decodeImage(await encode(kind));
    expect({ width, height }).toEqual({ width: WIDTH, height: HEIGHT });
    expect(pixels.equals(SMOOTH)).toBe(true);
  });

  it.each([
    ['JPEG', () => smooth().jpeg({ quality: 95 })],
    ['progressive JPEG', () => smooth().jpeg({ quality: 95, progressive: true })],
    ['lossy WebP', () => smooth().webp({ quality: 95 })],
  ])('gives nearly the pixels of a %s', async (_what, image) => {
    const { pixels, width, height } = await decodeImage(await image().toBuffer());
    expect({ width, height }).toEqual({ width: WIDTH, height: HEIGHT });
    expectClose(pixels, SMOOTH, 24);
  });

  it('gives the very pixels of an interlaced PNG', async () => {
    const bytes = await smooth().png({ progressive: true }).toBuffer();
    expect(bytes[28]).toBe(1); // interlaced, by its header
    expect((await decodeImage(bytes)).pixels.equals(SMOOTH)).toBe(true);
  });

  it.each([
    ['balls.png', 640, 480],
    ['corridor.jpg', 640, 427],
    ['mountains.webp', 480, 640],
    ['shapes.png', 512, 384],
  ])('decodes %s', async (name, width, height) => {
    const image = await decodeImage(await readFile(path.join(IMAGES, name)));
    expect(image).toMatchObject({ width, height });
    expect(image.pixels).toHaveLength(width * height * 3);
    expect(new Set(image.pixels).size).toBeGreaterThan(4);
  });

  it('reads the bytes of a view, not of the memory behind it', async () => {
    const memory = Buffer.concat([Buffer.from('GIF89a'), await encode('png')]);
    expect((await decodeImage(memory.subarray(6))).pixels.equals(SMOOTH)).toBe(true);
  });

  it('does not mind what a decoder would only warn of', async () => {
    const bytes = await encode('jpeg');
    const frame = bytes.indexOf(Buffer.from([0xff, 0xc0]));
    const junk = Buffer.from('junk!');
    const padded = Buffer.concat([bytes.subarray(0, frame), junk, bytes.subarray(frame)]);
    await expect(sharp(padded, { failOn: 'warning' }).toBuffer()).rejects.toThrow('extraneous');
    const whole = await decodeImage(bytes);
    expect((await decodeImage(padded)).pixels.equals(whole.pixels)).toBe(true);
  });

  it.each(KINDS)('does not mind bytes behind the end of a %s', async (kind) => {
    const bytes = await encode(kind);
    const whole = await decodeImage(bytes);
    const longer = await decodeImage(Buffer.concat([bytes, Buffer.from('trailer')]));
    expect(longer.pixels.equals(whole.pixels)).toBe(true);
  });
});

describe('orientation', () => {
  /** What EXIF says the picture is, of one that is stored as red, green, blue over white, black, grey. */
  const R = [255, 0, 0];
  const G = [0, 255, 0];
  const B = [0, 0, 255];
  const W = [255, 255, 255];
  const K = [0, 0, 0];
  const M = [128, 128, 128];
  const stored = Buffer.from([R, G, B, W, K, M].flat());
  const upright: [orientation: number, rows: number[][][]][] = [
    [
      1,
      [
        [R, G, B],
        [W, K, M],
      ],
    ],
    [
      2,
      [
        [B, G, R],
        [M, K, W],
      ],
    ],
    [
      3,
      [
        [M, K, W],
        [B, G, R],
      ],
    ],
    [
      4,
      [
        [W, K, M],
        [R, G, B],
      ],
    ],
    [
      5,
      [
        [R, W],
        [G, K],
        [B, M],
      ],
    ],
    [
      6,
      [
        [W, R],
        [K, G],
        [M, B],
      ],
    ],
    [
      7,
      [
        [M, B],
        [K, G],
        [W, R],
      ],
    ],
    [
      8,
      [
        [B, M],
        [G, K],
        [R, W],
      ],
    ],
  ];

  describe.each(KINDS)('of a %s', (kind) => {
    it.each(upright)('is applied: %i', async (orientation, rows) => {
      const image = sharp(stored, { raw: { width: 3, height: 2, channels: 3 } });
      const bytes = await encode(kind, image.withMetadata({ orientation }));
      const { pixels, width, height } = await decodeImage(bytes);
      expect({ width, height }).toEqual({ width: rows[0]?.length, height: rows.length });
      expectClose(pixels, rows.flat(2), 3);
    });
  });
});

describe('alpha', () => {
  it('is dropped, not blended', async () => {
    const bytes = makeRow(3, 8, RGBA, [255, 0, 0, 0, 1, 2, 3, 128, 9, 8, 7, 255]);
    expect(await decodeToNumbers(bytes)).toEqual([255, 0, 0, 1, 2, 3, 9, 8, 7]);
  });

  it('is dropped from a WebP', async () => {
    const rgba = Uint8Array.of(255, 0, 0, 0, 10, 20, 30, 128);
    const bytes = await sharp(rgba, { raw: { width: 2, height: 1, channels: 4 } })
      .webp({ lossless: true, exact: true })
      .toBuffer();
    expect((await sharp(bytes).metadata()).hasAlpha).toBe(true);
    expect(await decodeToNumbers(bytes)).toEqual([255, 0, 0, 10, 20, 30]);
  });

  it('is dropped from grey', async () => {
    const bytes = makeRow(2, 8, GREY_ALPHA, [7, 0, 200, 255]);
    expect(await decodeToNumbers(bytes)).toEqual([7, 7, 7, 200, 200, 200]);
  });

  it('is dropped from a palette', async () => {
    const bytes = makeRow(
      2,
      8,
      PALETTE,
      [0, 1],
      chunk('PLTE', Uint8Array.of(255, 0, 0, 1, 2, 3)),
      chunk('tRNS', Uint8Array.of(0)),
    );
    expect(await decodeToNumbers(bytes)).toEqual([255, 0, 0, 1, 2, 3]);
  });

  it('is dropped where one colour is the transparent one', async () => {
    const bytes = makeRow(
      2,
      8,
      RGB,
      [255, 0, 0, 1, 2, 3],
      chunk('tRNS', Uint8Array.of(0, 255, 0, 0, 0, 0)),
    );
    expect(await decodeToNumbers(bytes)).toEqual([255, 0, 0, 1, 2, 3]);
  });
});

describe('fewer colours', () => {
  it('become three channels from a palette', async () => {
    const colours = chunk('PLTE', Uint8Array.of(10, 20, 30, 200, 100, 0));
    const bytes = makeRow(3, 8, PALETTE, [1, 0, 1], colours);
    expect(await decodeToNumbers(bytes)).toEqual([200, 100, 0, 10, 20, 30, 200, 100, 0]);
  });

  it.each([
    ['8 bits', 8, [7, 200], [7, 200]],
    ['4 bits', 4, [0x1f], [17, 255]],
    ['2 bits', 2, [0b01_10_0000], [85, 170]],
    ['1 bit', 1, [0b10_000000], [255, 0]],
  ])('become three channels from a grey PNG of %s', async (_what, depth, samples, greys) => {
    const wanted = greys.flatMap((grey) => [grey, grey, grey]);
    expect(await decodeToNumbers(makeRow(2, depth, GREY, samples))).toEqual(wanted);
  });

  it('become three channels from a grey JPEG', async () => {
    const bytes = await plain('#505050').toColourspace('b-w').jpeg({ quality: 100 }).toBuffer();
    expect(bytes.includes(Buffer.from([0xff, 0xc0, 0, 11, 8]))).toBe(true); // a frame of one part
    const { pixels } = await decodeImage(bytes);
    expectClose(pixels, Array(8 * 8 * 3).fill(0x50), 1);
  });
});

describe('16 bits', () => {
  it.each([
    [0xffff, 255],
    [0x8000, 128],
    [0x7fff, 127],
    [0x00ff, 0],
    [0x0100, 1],
    [0x0000, 0],
  ])('are scaled, not clipped: %i of grey becomes %i', async (value, wanted) => {
    const bytes = makeRow(1, 16, GREY, [value >> 8, value & 255]);
    expect(await decodeToNumbers(bytes)).toEqual([wanted, wanted, wanted]);
  });

  it('are scaled in every channel', async () => {
    const bytes = makeRow(
      2,
      16,
      RGB,
      [0xff, 0xff, 0x80, 0, 0, 0, 0x7f, 0xff, 0x12, 0x34, 0xab, 0xcd],
    );
    expect(await decodeToNumbers(bytes)).toEqual([255, 128, 0, 127, 0x12, 0xab]);
  });

  it('are scaled and their alpha is dropped', async () => {
    const bytes = makeRow(1, 16, RGBA, [0xff, 0xff, 0x80, 0, 0, 0, 0, 0]);
    expect(await decodeToNumbers(bytes)).toEqual([255, 128, 0]);
    const grey = makeRow(1, 16, GREY_ALPHA, [0x80, 0, 0, 0]);
    expect(await decodeToNumbers(grey)).toEqual([128, 128, 128]);
  });
});

describe('colours', () => {
  it.each([
    ['red', '#f00', [1, 0, 0]],
    ['yellow', '#ff0', [1, 1, 0]],
    ['white', '#fff', [1, 1, 1]],
    ['black', '#000', [0, 0, 0]],
  ])('of a CMYK JPEG are converted: %s', async (_name, colour, bright) => {
    const bytes = await plain(colour).toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer();
    expect(await sharp(bytes).metadata()).toMatchObject({ space: 'cmyk', channels: 4 });
    const { pixels } = await decodeImage(bytes);
    expect(pixels).toHaveLength(8 * 8 * 3);
    // Ink on paper is never as bright as a screen.
    expect(
      [...pixels.subarray(0, 3)].map((value) => (value > 215 ? 1 : value < 40 ? 0 : value)),
    ).toEqual(bright);
  });

  it.each(KINDS)('of a wide gamut become sRGB: %s', async (kind) => {
    const bytes = await encode(kind, plain('#ff8040').withIccProfile('p3'));
    const asStored = await sharp(bytes, { ignoreIcc: true }).raw().toBuffer();
    expect(asStored[0]).toBeLessThan(245);
    const { pixels } = await decodeImage(bytes);
    expectClose(pixels.subarray(0, 3), [255, 128, 64], 3);
  });

  it('stay as they are with a profile of sRGB', async () => {
    const bytes = makeRow(1, 8, RGB, [200, 100, 50], profileChunk(await profile('srgb')));
    expectClose(await decodeToNumbers(bytes), [200, 100, 50], 1);
  });

  it('stay as they are with a profile that is broken', async () => {
    const bytes = makeRow(1, 8, RGB, [200, 100, 50], profileChunk(Buffer.from('no profile')));
    expect(await decodeToNumbers(bytes)).toEqual([200, 100, 50]);
  });

  it('do not change with a transparency that is dropped', async () => {
    const icc = profileChunk(await profile('p3'));
    const opaque = await decodeToNumbers(makeRow(1, 8, RGB, [200, 100, 50], icc));
    const transparent = await decodeToNumbers(makeRow(1, 8, RGBA, [200, 100, 50, 0], icc));
    expect(transparent).toEqual(opaque);
    expect(opaque).not.toEqual([200, 100, 50]);
  });

  it.each(['srgb', 'p3'] as const)('of 16 bits become those of 8 bits: %s', async (name) => {
    const icc = profileChunk(await profile(name));
    const of8 = await decodeToNumbers(makeRow(1, 8, RGB, [200, 100, 50], icc));
    const of16 = await decodeToNumbers(makeRow(1, 16, RGB, [200, 200, 100, 100, 50, 50], icc));
    expectClose(of16, of8, 2);
  });
});

describe('several pictures in one', () => {
  it('of an animated WebP: the first frame is taken', async () => {
    const frames = Buffer.concat([Buffer.alloc(12, 200), Buffer.alloc(12, 10)]);
    const bytes = await sharp(frames, { raw: { width: 2, height: 4, channels: 3, pageHeight: 2 } })
      .webp({ lossless: true, loop: 0, delay: [100, 100] })
      .toBuffer();
    expect((await sharp(bytes).metadata()).pages).toBe(2);
    const { pixels, width, height } = await decodeImage(bytes);
    expect({ width, height }).toEqual({ width: 2, height: 2 });
    expect([...pixels]).toEqual(Array(12).fill(200));
  });

  it('of a JPEG with a gain map, as phones make them: the ordinary one is taken', async () => {
    const bytes = await smooth().toColourspace('rgb16').png().toBuffer();
    // sharp 0.35 has the method, and its types do not.
    const image = sharp(bytes) as Sharp & { withGainMap(): Sharp };
    const ultraHdr = await image.withGainMap().jpeg().toBuffer();
    const end = ultraHdr.indexOf(Buffer.from([0xff, 0xd9, 0xff, 0xd8])) + 2;
    expect(ultraHdr.length - end).toBeGreaterThan(100); // the map, a JPEG of its own
    const alone = await decodeImage(ultraHdr.subarray(0, end));
    const whole = await decodeImage(ultraHdr);
    expect(whole).toMatchObject({ width: WIDTH, height: HEIGHT });
    expect(whole.pixels.equals(alone.pixels)).toBe(true);
  });
});

describe('what is no image', () => {
  it('is no_image when it is empty', async () => {
    expect(await refusal(new Uint8Array(0))).toMatchObject({ code: 'no_image', status: 400 });
  });

  it.each([
    ['text', 'not an image'],
    ['HTML', '<!doctype html><p>Not found'],
    ['SVG or XML', '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'],
    ['PDF', '%PDF-1.7\n'],
    ['TIFF', 'II*\0\x08\0\0\0'],
    ['HEIC', '\0\0\0\x18ftypheic\0\0\0\0'],
    ['something unknown', '\0\x01\x02\x03'],
  ])('is an unsupported_format: %s', async (name, content) => {
    const error = await refusal(Buffer.from(content, 'latin1'));
    expect(error).toMatchObject({ code: 'unsupported_format', status: 400 });
    expect(error.message).toContain(name);
    expect(error.message).toContain('JPEG, PNG or WebP');
  });

  it.each([
    ['GIF', () => plain('#f00').gif()],
    ['AVIF', () => plain('#f00').avif({ effort: 0 })],
    ['TIFF', () => plain('#f00').tiff()],
  ])('is an unsupported_format, though libvips has a loader: %s', async (name, image) => {
    const bytes = await image().toBuffer();
    const error = await refusal(bytes);
    expect(error).toMatchObject({ code: 'unsupported_format', status: 400 });
    expect(error.message).toContain(name);
  });
});

describe('what is damaged', () => {
  const expectDamaged = (error: LotusError, kind: Kind) => {
    expect(error).toMatchObject({ code: 'invalid_image', status: 400 });
    expect(error.message).toMatch(
      new RegExp(`^The ${kind.toUpperCase()} image cannot be decoded: .+`),
    );
    expect(error.message).not.toMatch(/[\r\n]/);
    expect(error.cause).toBeInstanceOf(Error);
  };

  describe.each(KINDS)('in a %s', (kind) => {
    it.each([0, 0.1, 0.3, 0.6, 0.9])(
      'is refused when it is cut off: %d of it left',
      async (part) => {
        const bytes = await encode(kind);
        const left = Math.max(16, Math.floor(bytes.length * part));
        expectDamaged(await refusal(bytes.subarray(0, left)), kind);
      },
    );

    it('is refused when there are only the magic bytes', async () => {
      const magic = { jpeg: 3, png: 8, webp: 12 };
      expectDamaged(await refusal((await encode(kind)).subarray(0, magic[kind])), kind);
    });

    it('is refused when the header is followed by nonsense', async () => {
      const bytes = await encode(kind);
      const head = { jpeg: 24, png: 33, webp: 12 };
      const nonsense = Buffer.alloc(bytes.length, 'nonsense');
      expectDamaged(await refusal(Buffer.concat([bytes.subarray(0, head[kind]), nonsense])), kind);
    });
  });

  it.each(['jpeg', 'webp'] as const)(
    'is refused when its last byte is missing: %s',
    async (kind) => {
      expectDamaged(await refusal((await encode(kind)).subarray(0, -1)), kind);
    },
  );

  it('is refused when a checksum of a PNG is wrong', async () => {
    const bytes = await encode('png');
    const at = bytes.indexOf('IDAT') + 40;
    bytes.writeUInt8(bytes.readUInt8(at) ^ 0x55, at);
    expectDamaged(await refusal(bytes), 'png');
  });

  it('is refused when a PNG has no data', async () => {
    expectDamaged(await refusal(makeHollow(16, 16)), 'png');
  });

  it('has a message that ends as a sentence does', async () => {
    const error = await refusal(PNG_SIGNATURE);
    expect(error.message).not.toContain(':.');
  });

  it('has a message that says everything once', async () => {
    const error = await refusal((await encode('jpeg')).subarray(0, 60));
    const parts = error.message.split('; ');
    expect(new Set(parts).size).toBe(parts.length);
  });
});

describe('the limit', () => {
  it.each([
    [4096, 4096],
    [8192, 2048],
  ])('admits %i x %i', async (width, height) => {
    const image = await decodeImage(makeBlack(width, height));
    expect(image).toMatchObject({ width, height });
    expect(image.pixels).toHaveLength(width * height * 3);
  });

  it.each([
    [4097, 4096],
    [4096, 4097],
    [8192, 8192],
    [60_000, 60_000],
    [16_777_217, 1],
  ])('refuses %i x %i by its header, before any decoding', async (width, height) => {
    // There is no data that could be decoded.
    expect(await refusal(makeHollow(width, height))).toMatchObject({
      code: 'image_too_large',
      status: 400,
      message: 'Image too large; max 4096x4096 pixels.',
    });
  });

  it.each([
    [65_536, 8],
    [8, 65_536],
  ])('refuses an edge that is too long: %i x %i', async (width, height) => {
    const error = await refusal(makeHollow(width, height));
    expect(error).toMatchObject({ code: 'image_too_large', status: 400 });
    expect(error.message).toBe(
      `Image too large: ${width}x${height}; max 65535 pixels along an edge.`,
    );
  });

  it('refuses a JPEG by its header', async () => {
    const bytes = await encode('jpeg');
    const frame = bytes.indexOf(Buffer.from([0xff, 0xc0]));
    bytes.writeUInt16BE(65_000, frame + 5);
    bytes.writeUInt16BE(65_000, frame + 7);
    expect(await refusal(bytes)).toMatchObject({ code: 'image_too_large' });
  });

  it('refuses a WebP by its header', async () => {
    const bytes = await encode('webp');
    // 14 bits each, one less than the edge: 16383 x 16383, the most that WebP can say.
    bytes.writeUInt32LE(0x3ffe | (0x3ffe << 14), bytes.indexOf('VP8L') + 9);
    expect(await refusal(bytes)).toMatchObject({ code: 'image_too_large' });
  });
});

describe('time', () => {
  it('is not waited for when a signal has been aborted', async () => {
    const decoding = decodeImage(await encode('png'), AbortSignal.abort());
    await expect(decoding).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('is given up when a signal is aborted meanwhile', async () => {
    const stop = new AbortController();
    const decoding = decodeImage(makeBlack(4096, 4096), stop.signal);
    stop.abort();
    await expect(decoding).rejects.toMatchObject({ code: 'cancelled' });
  });

  /** How many images libvips was at work on, each time that one came to it or left. */
  function watchQueue(): { sizes: number[]; stop: () => void } {
    const sizes: number[] = [];
    const note = () => {
      const { queue, process } = sharp.counters();
      sizes.push(queue + process);
    };
    sharp.queue.on('change', note);
    return { sizes, stop: () => void sharp.queue.off('change', note) };
  }

  it('is not begun to be taken when a signal is aborted while the header is read', async () => {
    const { sizes, stop } = watchQueue();
    const aborting = new AbortController();
    const decoding = decodeImage(makeBlack(64, 64), aborting.signal);
    aborting.abort();
    await expect(decoding).rejects.toMatchObject({ code: 'cancelled' });
    // Its place is behind those of four that are decoded.
    await Promise.all(Array.from({ length: 8 }, () => decodeImage(makeBlack(64, 64))));
    stop();
    expect(sizes.length).toBe(2 * 8);
  });

  it('is taken by four at once, whether anybody waits for them or not', async () => {
    const { sizes, stop } = watchQueue();
    const image = makeBlack(1024, 1024);
    const aborting = new AbortController();
    const unheard = Array.from({ length: 4 }, () => decodeImage(image, aborting.signal));
    const { promise: begun, resolve } = Promise.withResolvers<void>();
    sharp.queue.once('change', () => resolve());
    await begun;
    aborting.abort();
    const heard = Array.from({ length: 8 }, () => decodeImage(image));
    await Promise.allSettled([...unheard, ...heard]);
    stop();
    expect(Math.max(...sizes)).toBeLessThanOrEqual(4);
  });

  it('has a limit, which is told from damage', async () => {
    // Many times more work than its second.
    const error = await sharp({
      create: { width: 4096, height: 4096, channels: 3, background: '#f00' },
    })
      .median(99)
      .timeout({ seconds: 1 })
      .raw()
      .toBuffer()
      .catch((reason: unknown) => reason);
    expect(refusalOf('png', error)).toMatchObject({ code: 'timed_out', status: 408 });
    expect(refusalOf('png', error).message).toContain('PNG image was not decoded in 30 s');
  });
});

describe('what makes a decoder work', () => {
  it('is bounded in a JPEG by the number of its scans', async () => {
    expect(await decodeImage(makeProgressive(64, 64, 100))).toMatchObject({ width: 64 });
    const error = await refusal(makeProgressive(64, 64, 101));
    expect(error).toMatchObject({ code: 'invalid_image' });
    expect(error.message).toContain('more than 100 scans');
  });

  it('is bounded by the number of parts of a file', async () => {
    const jpeg = await encode('jpeg');
    const parts = (count: number) => Buffer.alloc(4 * count, segment(0xe5));
    expect(await decodeImage(withSegments(jpeg, parts(99_900)))).toMatchObject({ width: WIDTH });
    const error = await refusal(withSegments(jpeg, parts(100_001)));
    expect(error).toMatchObject({ code: 'invalid_image' });
    expect(error.message).toContain('more than 100000 parts');
  });
});

describe('any bytes', () => {
  /** Decoded, or refused in a way that is the caller's fault. */
  async function expectAnswer(bytes: Uint8Array): Promise<void> {
    try {
      const { pixels, width, height } = await decodeImage(bytes);
      expect(pixels.length).toBe(width * height * 3);
    } catch (error) {
      if (!(error instanceof LotusError)) throw error;
      expect(error.status).toBeGreaterThanOrEqual(400);
      expect(error.status).toBeLessThan(500);
      expect(error.message).not.toMatch(/[\r\n]/);
    }
  }

  it("behind magic bytes are refused as the caller's fault", async () => {
    const magic = fc.constantFrom(
      Buffer.from('\xff\xd8\xff', 'latin1'),
      PNG_SIGNATURE,
      makeHollow(16, 16).subarray(0, 33),
      Buffer.from('RIFF\xff\0\0\0WEBP', 'latin1'),
      Buffer.from('RIFF\xff\0\0\0WEBPVP8L', 'latin1'),
    );
    await fc.assert(
      fc.asyncProperty(magic, fc.uint8Array({ maxLength: 300 }), async (head, tail) => {
        await expectAnswer(Buffer.concat([head, tail]));
      }),
    );
  });

  it("changed in a good image make another image, or are refused as the caller's fault", async () => {
    const images = await Promise.all(KINDS.map((kind) => encode(kind)));
    const changes = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
    });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...images), changes, async (image, changed) => {
        const bytes = Buffer.from(image);
        for (const [at, value] of changed) bytes.writeUInt8(value, at % bytes.length);
        await expectAnswer(bytes);
      }),
    );
  });
});
