/** WebP's chunks. Source: the WebP container specification, RFC 9649. */
import { type Bare, bounded, MAX_PROFILE_BYTES, profileTooLarge } from './bare.ts';
import { EXIF_PREFIX, readOrientation, UPRIGHT, writeOrientation } from './exif.ts';

/** RIFF, its length, WEBP. */
const HEADER_BYTES = 12;
const CHUNK_HEADER_BYTES = 8;

/** Of each the first: an image has one, and of an animation the first frame is wanted. */
const NEEDED: ReadonlySet<string> = new Set([
  'VP8X',
  'ICCP',
  'ANIM',
  'ANMF',
  'ALPH',
  'VP8 ',
  'VP8L',
]);

/** Flags of VP8X. */
const HAS_EXIF = 0x08;
const HAS_XMP = 0x04;

/**
 * Take the picture of a WebP out of its file; of an animation the first frame.
 *
 * @throws LotusError `invalid_image`; Error, saying what is wrong with it.
 */
export function bareWebp(bytes: Buffer): Bare {
  if (bytes.length < HEADER_BYTES) throw new Error('it is cut off');
  const end = CHUNK_HEADER_BYTES + bytes.readUInt32LE(4);
  if (end > bytes.length) throw new Error(`it is cut off: ${bytes.length} of ${end} bytes`);
  const kept = new Map<string, Buffer>();
  let exif: Buffer | null = null;
  for (const { type, whole, data } of bounded(chunks(bytes.subarray(0, end)))) {
    if (type === 'EXIF') exif ??= data;
    if (!NEEDED.has(type) || kept.has(type)) continue;
    if (type === 'ICCP' && data.length > MAX_PROFILE_BYTES) throw profileTooLarge();
    kept.set(type, whole);
  }
  const size = sizeOf(kept);
  const chunksLeft = withOrientation(kept, exif === null ? UPRIGHT : orientationOf(exif));
  return { bytes: makeFile(chunksLeft), ...size };
}

function* chunks(bytes: Buffer) {
  for (let at = HEADER_BYTES; at + CHUNK_HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + 4);
    const end = at + CHUNK_HEADER_BYTES + length;
    if (end > bytes.length) throw new Error('it has a chunk that is cut off');
    const padded = Math.min(end + (length & 1), bytes.length);
    yield {
      type: bytes.toString('latin1', at, at + 4),
      whole: bytes.subarray(at, padded),
      data: bytes.subarray(at + CHUNK_HEADER_BYTES, end),
    };
    at = padded;
  }
}

/** That of the canvas where there is one, else of the one image. */
function sizeOf(kept: ReadonlyMap<string, Buffer>): Pick<Bare, 'width' | 'height'> {
  const canvas = dataOf(kept, 'VP8X', 10);
  if (canvas) return { width: canvas.readUIntLE(4, 3) + 1, height: canvas.readUIntLE(7, 3) + 1 };
  const lossless = dataOf(kept, 'VP8L', 5);
  if (lossless) {
    const edges = lossless.readUInt32LE(1);
    return { width: (edges & 0x3fff) + 1, height: ((edges >> 14) & 0x3fff) + 1 };
  }
  const lossy = dataOf(kept, 'VP8 ', 10);
  if (lossy)
    return { width: lossy.readUInt16LE(6) & 0x3fff, height: lossy.readUInt16LE(8) & 0x3fff };
  throw new Error('it has no image');
}

function dataOf(kept: ReadonlyMap<string, Buffer>, type: string, least: number): Buffer | null {
  const data = kept.get(type)?.subarray(CHUNK_HEADER_BYTES);
  return data !== undefined && data.length >= least ? data : null;
}

/** Some programs write it as in a JPEG. */
function orientationOf(exif: Buffer): number {
  const hasPrefix = exif.subarray(0, EXIF_PREFIX.length).equals(EXIF_PREFIX);
  return readOrientation(hasPrefix ? exif.subarray(EXIF_PREFIX.length) : exif);
}

/** The chunks in their order, their flags right, the orientation behind them. */
function withOrientation(kept: ReadonlyMap<string, Buffer>, orientation: number): Buffer[] {
  const isTurned = orientation !== UPRIGHT && kept.has('VP8X');
  const parts = [...kept].map(([type, whole]) => {
    if (type !== 'VP8X') return whole;
    const canvas = Buffer.from(whole);
    const flags = canvas.readUInt8(CHUNK_HEADER_BYTES) & ~(HAS_EXIF | HAS_XMP);
    canvas.writeUInt8(isTurned ? flags | HAS_EXIF : flags, CHUNK_HEADER_BYTES);
    return canvas;
  });
  if (!isTurned) return parts;
  const exif = writeOrientation(orientation);
  const head = Buffer.from('EXIF\0\0\0\0', 'latin1');
  head.writeUInt32LE(exif.length, 4);
  return [...parts, head, exif];
}

function makeFile(parts: readonly Buffer[]): Buffer {
  const head = Buffer.from('RIFF\0\0\0\0WEBP', 'latin1');
  const length = parts.reduce((sum, part) => sum + part.length, 'WEBP'.length);
  head.writeUInt32LE(length, 4);
  return Buffer.concat([head, ...parts]);
}
