import { cancelled, LotusError, messageOf } from '../errors.ts';
import { unlessAborted } from '../time/waiting.ts';
import { type Bare, MAX_PIXELS } from './bare.ts';
import { bareJpeg } from './jpeg.ts';
import { sharp } from './libvips.ts';
import { Places } from './places.ts';
import { barePng } from './png.ts';
import { type ImageKind, sniff } from './sniff.ts';
import { bareWebp } from './webp.ts';

/** The longest edge that a JPEG can have. Decoders take an age over a PNG of 1 x 16777216, a row at a time. */
export const MAX_EDGE = 65_535;

/**
 * For decoding one image, seconds. The slowest that is legal takes about three on one slow core; this is for what
 * nobody has thought of.
 */
const TIME_LIMIT_S = 30;

/**
 * Images that libvips works on at a time, those that nobody waits for any more among them: libuv has as many threads.
 * The largest image takes up to 220 MB.
 */
const AT_A_TIME = 4;
const places = new Places(AT_A_TIME);

const BARE: Readonly<Record<ImageKind, (bytes: Buffer) => Bare>> = {
  jpeg: bareJpeg,
  png: barePng,
  webp: bareWebp,
};

/** Raw 8-bit sRGB, rows top to bottom: width * height * 3 bytes. */
export interface DecodedImage {
  readonly pixels: Buffer;
  readonly width: number;
  readonly height: number;
}

/**
 * Decode a JPEG, PNG or WebP into what upstream's own `Image.open(...).convert('RGB')` means by RGB, made
 * right where that is not: EXIF orientation is applied, 16 bits are scaled to 8 (Pillow clips them), CMYK
 * and embedded colour profiles are converted to sRGB. Alpha is dropped, not blended, as upstream does.
 * Of an animation the first frame is taken.
 *
 * @param signal aborts the wait. libvips cannot be stopped: it finishes unheard, or at the time limit, and keeps its
 *   place among those that are decoded until then.
 * @throws LotusError `no_image`, `unsupported_format`, `image_too_large` (from the header, before any
 *   decoding), `invalid_image`, `timed_out` or `cancelled`.
 */
export async function decodeImage(bytes: Uint8Array, signal?: AbortSignal): Promise<DecodedImage> {
  if (bytes.length === 0) throw new LotusError('no_image', 'The image is empty (0 bytes).');
  const sniffed = sniff(bytes);
  if (sniffed.kind === null) {
    throw new LotusError(
      'unsupported_format',
      `Not a JPEG, PNG or WebP image: it looks like ${sniffed.looksLike}. Convert it first.`,
    );
  }
  if (signal?.aborted) throw cancelled();
  const { kind } = sniffed;
  try {
    const bare = BARE[kind](Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    admitSize(bare);
    const decoded = places.during(() => decodeBare(bare, signal), signal);
    return await (signal ? unlessAborted(decoded, signal, cancelled) : decoded);
  } catch (error) {
    throw refusalOf(kind, error);
  }
}

/** @throws LotusError `image_too_large`. */
function admitSize({ width, height }: Bare): void {
  if (width * height > MAX_PIXELS) {
    throw new LotusError('image_too_large', 'Image too large; max 4096x4096 pixels.');
  }
  if (Math.max(width, height) <= MAX_EDGE) return;
  throw new LotusError(
    'image_too_large',
    `Image too large: ${width}x${height}; max ${MAX_EDGE} pixels along an edge.`,
  );
}

async function decodeBare({ bytes }: Bare, signal: AbortSignal | undefined): Promise<DecodedImage> {
  // Truncated and damaged files are refused, as by Pillow; mere warnings are not.
  const image = sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn: 'error' });
  const { space } = await image.metadata();
  if (signal?.aborted) throw cancelled();
  // sharp works on 16 bits in a wide-gamut space and would leave the pixels there.
  if (space === 'rgb16') image.pipelineColourspace('srgb');
  const { data, info } = await image
    .timeout({ seconds: TIME_LIMIT_S })
    .autoOrient()
    .removeAlpha()
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  return { pixels: data, width: info.width, height: info.height };
}

/** What a caller gets for what sharp has thrown at an image. */
export function refusalOf(kind: ImageKind, error: unknown): LotusError {
  if (error instanceof LotusError) return error;
  const what = `The ${kind.toUpperCase()} image`;
  const why = oneLine(messageOf(error));
  if (/^timeout\b/.test(why)) {
    return new LotusError(
      'timed_out',
      `${what} was not decoded in ${TIME_LIMIT_S} s. Save it again with an ordinary encoder, or smaller.`,
      { cause: error },
    );
  }
  return new LotusError(
    'invalid_image',
    `${what} cannot be decoded: ${why}. It is damaged or cut off; send it again.`,
    { cause: error },
  );
}

/** libvips' messages are several lines, say the same thing again, and end in a colon. */
function oneLine(message: string): string {
  const lines = message.split('\n').map((line) => line.trim().replace(/[.:]+$/, ''));
  return [...new Set(lines)].filter(Boolean).join('; ');
}
