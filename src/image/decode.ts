import sharp from 'sharp';
import { LotusError, messageOf } from '../errors.ts';
import { sniff } from './sniff.ts';

/** The product's limit, on the product of the edges: 4096 x 4096. */
export const MAX_PIXELS = 4096 * 4096;

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
 * @throws LotusError `no_image`, `unsupported_format`, `image_too_large` (from the header, before any
 *   decoding) or `invalid_image`.
 */
export async function decodeImage(bytes: Uint8Array): Promise<DecodedImage> {
  if (bytes.length === 0) throw new LotusError('no_image', 'The image is empty (0 bytes).');
  const sniffed = sniff(bytes);
  if (sniffed.kind === null) {
    throw new LotusError(
      'unsupported_format',
      `Not a JPEG, PNG or WebP image: it looks like ${sniffed.looksLike}. Convert it first.`,
    );
  }
  try {
    // The pixel limit is ours to check, below: libvips' own would give another error. Truncated and
    // damaged files are refused, as by Pillow; mere warnings are not.
    const image = sharp(bytes, { limitInputPixels: false, failOn: 'error' });
    const { width, height, space } = await image.metadata();
    if (width * height > MAX_PIXELS) {
      throw new LotusError('image_too_large', 'Image too large; max 4096x4096 pixels.');
    }
    // sharp works on 16 bits in a wide-gamut space and would leave the pixels there.
    if (space === 'rgb16') image.pipelineColourspace('srgb');
    const { data, info } = await image
      .autoOrient()
      .removeAlpha()
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return { pixels: data, width: info.width, height: info.height };
  } catch (error) {
    if (error instanceof LotusError) throw error;
    throw new LotusError(
      'invalid_image',
      `The ${sniffed.kind.toUpperCase()} image cannot be decoded: ${oneLine(messageOf(error))}.` +
        ' It is damaged or cut off; send it again.',
      { cause: error },
    );
  }
}

/** libvips' messages are several lines, say the same thing again, and end in a colon. */
function oneLine(message: string): string {
  const lines = message.split('\n').map((line) => line.trim().replace(/[.:]+$/, ''));
  return [...new Set(lines)].filter(Boolean).join('; ');
}
