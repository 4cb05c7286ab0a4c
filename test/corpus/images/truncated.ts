import { chunk, PNG_SIGNATURE } from '../png.ts';
import { makeAnimation } from '../webp.ts';
import { all, dot, type ImageCase, jpeg, lossless, png, progressive, webp } from './sources.ts';

const half = (file: Buffer) => file.subarray(0, Math.floor(file.length / 2));
const animation = makeAnimation(dot, 1, 3);
const end = chunk('IEND').length;

export const TRUNCATED: readonly ImageCase[] = [
  ...all('no_image', { 'no bytes at all': Buffer.alloc(0) }),
  ...all('invalid_image', {
    'the first three bytes of a JPEG': jpeg.subarray(0, 3),
    'half a JPEG': half(jpeg),
    'half a progressive JPEG': half(progressive),
    'a JPEG without its last twenty bytes': jpeg.subarray(0, -20),
    'a JPEG cut in its tables': jpeg.subarray(0, 60),
    'the signature of a PNG': PNG_SIGNATURE,
    'a PNG cut in its header': png.subarray(0, 20),
    'a PNG without data': png.subarray(0, 33),
    'half a PNG': half(png),
    'a PNG cut in the checksum of its data': png.subarray(0, -end - 6),
    'the first twelve bytes of a WebP': webp.subarray(0, 12),
    'half a WebP': half(webp),
    'half a lossless WebP': half(lossless),
    'a WebP without its last byte': webp.subarray(0, -1),
    'an animated WebP cut behind its first frame': animation.subarray(0, -60),
  }),
  // Pillow, and so upstream, reads these too: all of the picture is there.
  ...all(null, {
    'a JPEG without its end marker, of which no bit is missing': jpeg.subarray(0, -2),
    'a PNG without its end': png.subarray(0, -end),
    'a PNG cut in its end': png.subarray(0, -1),
  }),
];
