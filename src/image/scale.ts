import type { DecodedImage } from './decode.ts';
import { sharp } from './libvips.ts';

/**
 * Scale RGB pixels, whatever that does to their proportions. Linear, with every pixel of the original counted: other
 * kernels overshoot at an edge, and in a map that is a depth which is nowhere.
 */
export async function scale(
  { pixels, width, height }: DecodedImage,
  to: { width: number; height: number },
): Promise<DecodedImage> {
  const scaled = await sharp(pixels, { raw: { width, height, channels: 3 } })
    .resize({ ...to, fit: 'fill', kernel: 'linear' })
    .raw()
    .toBuffer();
  return { pixels: scaled, ...to };
}
