import { COLORMAPS, inColour } from '../image/colormap.ts';
import { encodeGrey16Png, encodeGreyPng, encodeRgbPng } from '../image/encode.ts';
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
    encode: ({ planes, width, height }) => encodeGreyPng(planes.uint8, width, height),
  },
  png16: {
    plane: 'uint16',
    suffix: '.16bit.png',
    contentType: 'image/png',
    encode: ({ planes, width, height }) => encodeGrey16Png(planes.uint16, width, height),
  },
  npy: {
    plane: 'float32',
    suffix: '.npy',
    contentType: 'application/octet-stream', // NumPy has registered none
    encode: ({ planes, width, height }) => encodeNpy(planes.float32, width, height),
  },
  color: {
    plane: 'color',
    suffix: '.color.png',
    contentType: 'image/png',
    encode: ({ planes, width, height }, { colormap }) => {
      const pixels = inColour(planes.color, COLORMAPS[colormap]);
      return encodeRgbPng({ pixels, width, height });
    },
  },
  exr: {
    plane: 'exr',
    suffix: '.exr',
    contentType: 'image/x-exr', // the name that shared-mime-info has; none is registered
    encode: ({ planes }) => planes.exr,
  },
};

/** A file that a job has made. */
export interface OutputFile {
  readonly format: OutputFormat;
  readonly path: string;
  readonly bytes: Buffer;
}
