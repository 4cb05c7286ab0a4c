/** PNG's chunks. Source: the PNG specification, third edition. */
import { crc32, inflateSync } from 'node:zlib';
import { type Bare, bounded, MAX_PROFILE_BYTES, profileTooLarge } from './bare.ts';
import { readOrientation, UPRIGHT, writeOrientation } from './exif.ts';

const SIGNATURE_BYTES = 8;
/** Length, type and checksum. */
const AROUND_DATA = 12;

/** Before the data: what says how samples become colours. */
const NEEDED: ReadonlySet<string> = new Set([
  'IHDR',
  'PLTE',
  'tRNS',
  'gAMA',
  'cHRM',
  'sRGB',
  'iCCP',
]);

interface Chunk {
  readonly type: string;
  /** With its length, type and checksum. */
  readonly whole: Buffer;
  readonly data: Buffer;
  readonly isWhole: boolean;
}

/**
 * Take the picture of a PNG out of its file; of an animated one, what a program shows that knows no animation.
 *
 * @throws LotusError `invalid_image`; Error, saying what is wrong with it.
 */
export function barePng(bytes: Buffer): Bare {
  const header = new Map<string, Buffer>();
  const pixels: Buffer[] = [];
  let size: Pick<Bare, 'width' | 'height'> | null = null;
  for (const { type, whole, data, isWhole } of bounded(chunks(bytes))) {
    if (type === 'IDAT') {
      // Contiguous by the specification, and read in one piece.
      pixels.push(...fromFirstToLast(bytes, whole));
      break;
    }
    if (!isWhole || header.has(type)) continue;
    if (type === 'eXIf' && hasItsChecksum(whole)) header.set(type, orientationChunk(data));
    if (!NEEDED.has(type)) continue;
    if (type === 'IHDR') size = sizeOf(data);
    if (type === 'iCCP') checkProfile(data);
    header.set(type, whole);
  }
  if (size === null) throw new Error('it has no header');
  const parts = [bytes.subarray(0, SIGNATURE_BYTES), ...header.values(), ...pixels];
  return { bytes: Buffer.concat(parts), ...size };
}

function* chunks(bytes: Buffer, from = SIGNATURE_BYTES): Generator<Chunk> {
  for (let at = from; at + AROUND_DATA <= bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const end = at + AROUND_DATA + length;
    yield {
      type: bytes.toString('latin1', at + 4, at + 8),
      whole: bytes.subarray(at, end),
      data: bytes.subarray(at + 8, end - 4),
      isWhole: end <= bytes.length,
    };
    at = end;
  }
}

/** The data, from its first chunk to its last, and the file's end behind it unless it is cut off before. */
function fromFirstToLast(bytes: Buffer, first: Buffer): Buffer[] {
  const start = first.byteOffset - bytes.byteOffset;
  let end = start;
  for (const { type, whole, isWhole } of bounded(chunks(bytes, start))) {
    if (type !== 'IDAT') break;
    end += whole.length;
    if (!isWhole) return [bytes.subarray(start, end)];
  }
  return [bytes.subarray(start, end), makeChunk('IEND', Buffer.alloc(0))];
}

function sizeOf(header: Buffer): Pick<Bare, 'width' | 'height'> {
  if (header.length < 8) throw new Error('its header is cut off');
  return { width: header.readUInt32BE(0), height: header.readUInt32BE(4) };
}

/** A few bytes of it may become gigabytes. What is wrong with it otherwise, a decoder passes over. */
function checkProfile(chunk: Buffer): void {
  const compressed = chunk.subarray(chunk.indexOf(0) + 2); // behind its name and the method
  try {
    inflateSync(compressed, { maxOutputLength: MAX_PROFILE_BYTES });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw profileTooLarge();
  }
}

function orientationChunk(exif: Buffer): Buffer {
  const orientation = readOrientation(exif);
  if (orientation === UPRIGHT) return Buffer.alloc(0);
  return makeChunk('eXIf', writeOrientation(orientation));
}

/** A decoder looks at that of what it gets; this chunk is read by us. */
function hasItsChecksum(chunk: Buffer): boolean {
  return crc32(chunk.subarray(4, -4)) === chunk.readUInt32BE(chunk.length - 4);
}

function makeChunk(type: string, data: Buffer): Buffer {
  const chunk = Buffer.alloc(AROUND_DATA + data.length);
  chunk.writeUInt32BE(data.length, 0);
  chunk.write(type, 4, 'latin1');
  data.copy(chunk, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, -4)), chunk.length - 4);
  return chunk;
}
