import { withEdges } from '../jpeg.ts';
import { makeBlack, RGBA } from '../png.ts';
import { all, type ImageCase, jpeg } from './sources.ts';

/** Around the limits: the product of the edges, and each edge. */
export const OVERSIZED: readonly ImageCase[] = [
  ...all('image_too_large', {
    'a whole PNG of 4097 x 4096': makeBlack(4097, 4096),
    'a whole PNG of 1 x 16777216': makeBlack(1, 16_777_216),
    'a whole PNG of 16777216 x 1': makeBlack(16_777_216, 1),
    'a whole PNG of 65536 x 8': makeBlack(65_536, 8),
    'a whole PNG of 8 x 65536': makeBlack(8, 65_536),
    'a JPEG of 4096 x 4097': withEdges(jpeg, 4096, 4097),
  }),
  ...all(null, {
    'a PNG of 4096 x 4096': makeBlack(4096, 4096),
    'a PNG of 4096 x 4096 in 16 bits and alpha': makeBlack(4096, 4096, 16, RGBA),
    'a PNG of 8192 x 2048': makeBlack(8192, 2048),
  }),
  // They are images; but nothing is left of their short edge at the size they are processed at.
  ...all('shape_not_admitted', {
    'a PNG of 65535 x 8': makeBlack(65_535, 8),
    'a PNG of 1 x 4096': makeBlack(1, 4096),
  }),
];
