import { COLORMAPS, inColour } from '../image/colormap.ts';
import { encodePng, encodePng16 } from '../image/encode.ts';
import { encodeNpy } from '../image/npy.ts';
import type { DepthMap, Plane } from '../worker/model.ts';
import type { JobOptions, OutputFormat } from './schema.ts';

interface Format {
  /** The plane of the map that it is made of. */
  readonly plane: Plane;
  /** Of its files' names, behind the job's id or the image's name: the formats that are PNGs have one each. */
  readonly suffix: string;
  readonly contentType: string;
  readonly encode: (map: DepthMap, options: JobOptions) => Promise<Buffer> | Buffer;
}

export const FORMATS: Readonly<Record<OutputFormat, Format>> = {
  png: {
    plane: 'uint8',
    suffix: '.png',
    contentType: 'image/png',
    encode: (map) => encodePng({ ...rawOf(map), pixels: map.planes.uint8 }),
  },
  png16: {
    plane: 'uint16',
    suffix: '.16bit.png',
    contentType: 'image/png',
    encode: (map) => encodePng16({ ...rawOf(map), pixels: map.planes.uint16 }),
  },
  npy: {
    plane: 'float32',
    suffix: '.npy',
    contentType: 'application/octet-stream', // NumPy has registered none
    encode: (map) => encodeNpy(map.planes.float32, shapeOf(map)),
  },
  color: {
    plane: 'color',
    suffix: '.color.png',
    contentType: 'image/png',
    encode: ({ planes, width, height }, { colormap }) => {
      const pixels = inColour(planes.color, COLORMAPS[colormap]);
      return encodePng({ pixels, width, height, channels: 3 });
    },
  },
  uncertainty: {
    plane: 'uncertainty',
    suffix: '.uncertainty.npy',
    contentType: 'application/octet-stream',
    encode: (map) => encodeNpy(map.planes.uncertainty, shapeOf(map)),
  },
  exr: {
    plane: 'exr',
    suffix: '.exr',
    contentType: 'image/x-exr', // the name that shared-mime-info has; none is registered
    encode: ({ planes }) => planes.exr,
  },
};

function rawOf({ width, height, channels }: DepthMap) {
  return { width, height, channels };
}

function shapeOf({ width, height, channels }: DepthMap): number[] {
  return channels === 1 ? [height, width] : [height, width, channels];
}

/** A file that a job has made. */
export interface OutputFile {
  readonly format: OutputFormat;
  readonly path: string;
  readonly bytes: Buffer;
}
