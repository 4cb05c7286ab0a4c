import { encodeGreyPng } from '../image/encode.ts';
import { encodeNpy } from '../image/npy.ts';
import type { DepthMap, Plane } from '../worker/model.ts';
import type { OutputFormat } from './schema.ts';

interface Format {
  /** The plane of the map that it is made of. */
  readonly plane: Plane;
  readonly contentType: string;
  readonly encode: (map: DepthMap) => Promise<Buffer> | Buffer;
}

export const FORMATS: Readonly<Record<OutputFormat, Format>> = {
  png: {
    plane: 'uint8',
    contentType: 'image/png',
    encode: (map) => encodeGreyPng(map.uint8, map.width, map.height),
  },
  npy: {
    plane: 'float32',
    contentType: 'application/octet-stream', // NumPy has registered none
    encode: (map) => encodeNpy(map.float32, map.width, map.height),
  },
};

/** A file that a job has made. */
export interface OutputFile {
  readonly format: OutputFormat;
  readonly path: string;
  readonly bytes: Buffer;
}
