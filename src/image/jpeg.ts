/** JPEG's segments. Source: ITU-T T.81, annex B; ICC.1 annex B.4 for profiles. */
import { LotusError } from '../errors.ts';
import { type Bare, bounded, MAX_PROFILE_BYTES, profileTooLarge } from './bare.ts';
import { readOrientation, UPRIGHT, writeOrientation } from './exif.ts';

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const APP1 = 0xe1;
const APP2 = 0xe2;

/** Application segments that say what the colours are. */
const JFIF = 0xe0;
const ADOBE = 0xee;

const EXIF = Buffer.from('Exif\0\0', 'latin1');
const PROFILE = Buffer.from('ICC_PROFILE\0', 'latin1');

/**
 * Each scan of a progressive JPEG goes over all of the picture, and takes a few bytes of the file; with one for
 * each bit of each coefficient there can be thousands. Encoders make about ten.
 */
const MAX_SCANS = 100;

/** Segments that are kept: tables, frame and scans. A profile may have 255. */
const MAX_SEGMENTS = 1_000;

interface Segment {
  readonly marker: number;
  /** From its marker to its end, the coded data of a scan included. */
  readonly whole: Buffer;
  /** What its length counts. */
  readonly body: Buffer;
}

/**
 * Take the first picture of a JPEG out of its file.
 *
 * @throws LotusError `invalid_image`; Error, saying what is wrong with it.
 */
export function bareJpeg(bytes: Buffer): Bare {
  const kept: Buffer[] = [bytes.subarray(0, 2)];
  let size: Pick<Bare, 'width' | 'height'> | null = null;
  let exif: Buffer | null = null;
  let scans = 0;
  let profileBytes = 0;
  for (const { marker, whole, body } of bounded(segments(bytes))) {
    if (marker === APP1 && exif === null && startsWith(body, EXIF)) {
      exif = body.subarray(EXIF.length);
      kept.push(...orientationSegment(readOrientation(exif)));
    }
    if (!isNeeded(marker, body)) continue;
    if (marker === APP2) profileBytes += body.length;
    if (marker === SOS) scans += 1;
    if (isFrame(marker)) size ??= sizeOf(body);
    kept.push(whole);
    if (profileBytes > MAX_PROFILE_BYTES) throw profileTooLarge();
    if (scans > MAX_SCANS) throw tooMany('scans', MAX_SCANS);
    if (kept.length > MAX_SEGMENTS) throw tooMany('segments', MAX_SEGMENTS);
  }
  if (size === null) throw new Error('it has no frame header');
  return { bytes: Buffer.concat(kept), ...size };
}

/** Go over a JPEG's segments as a decoder does: what lies between two of them is skipped. */
function* segments(bytes: Buffer): Generator<Segment> {
  let at = 2;
  while (true) {
    at = bytes.indexOf(0xff, at);
    if (at === -1) return;
    while (bytes[at] === 0xff) at += 1; // fill bytes
    const marker = bytes[at];
    if (marker === undefined) return;
    const start = at - 1;
    at += 1;
    if (marker === 0 || isRestart(marker)) continue;
    if (marker === SOI) throw new Error('another image begins inside of it');
    if (marker === EOI) {
      yield { marker, whole: bytes.subarray(start, at), body: Buffer.alloc(0) };
      return;
    }
    if (at + 2 > bytes.length) return;
    const length = bytes.readUInt16BE(at);
    if (length < 2) throw new Error(`it has a segment of ${length} bytes`);
    const end = at + length;
    const next = marker === SOS ? endOfScan(bytes, end) : end;
    yield { marker, whole: bytes.subarray(start, next), body: bytes.subarray(at + 2, end) };
    at = next;
  }
}

/** Where the coded data of a scan ends: at the next marker that does not belong to it. */
function endOfScan(bytes: Buffer, from: number): number {
  // Byte by byte: coded data may be full of 0xff, and each search for the next costs a call.
  for (let at = from; at < bytes.length - 1; at += 1) {
    if (bytes[at] !== 0xff) continue;
    const next = bytes[at + 1] ?? 0;
    if (next !== 0 && next !== 0xff && !isRestart(next)) return at;
  }
  return bytes.length;
}

function isRestart(marker: number): boolean {
  return (marker >= 0xd0 && marker <= 0xd7) || marker === 0x01;
}

/** SOF0 to SOF15, among which DHT, JPG and DAC have their numbers. */
function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
}

function isNeeded(marker: number, body: Buffer): boolean {
  if (marker === APP2) return startsWith(body, PROFILE);
  if (marker === JFIF || marker === ADOBE) return true;
  return marker >= 0xc0 && marker < 0xe0; // tables, frame, scans, end
}

function sizeOf(frame: Buffer): Pick<Bare, 'width' | 'height'> {
  if (frame.length < 5) throw new Error('its frame header is cut off');
  return { height: frame.readUInt16BE(1), width: frame.readUInt16BE(3) };
}

function orientationSegment(orientation: number): Buffer[] {
  if (orientation === UPRIGHT) return [];
  const tiff = writeOrientation(orientation);
  const length = 2 + EXIF.length + tiff.length;
  return [Buffer.from([0xff, APP1, length >> 8, length & 255]), EXIF, tiff];
}

function startsWith(body: Buffer, prefix: Buffer): boolean {
  return body.subarray(0, prefix.length).equals(prefix);
}

function tooMany(what: string, most: number): LotusError {
  return new LotusError(
    'invalid_image',
    `The JPEG image has more than ${most} ${what}. Save it again with an ordinary encoder.`,
  );
}
