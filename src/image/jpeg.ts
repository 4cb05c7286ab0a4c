/** JPEG's segments. Source: ITU-T T.81, annex B; ICC.1 annex B.4 for profiles. */
import { LotusError } from '../errors.ts';
import { type Bare, bounded, MAX_PIXELS, MAX_PROFILE_BYTES, profileTooLarge } from './bare.ts';
import { EXIF_PREFIX, readOrientation, UPRIGHT, writeOrientation } from './exif.ts';

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const APP1 = 0xe1;
const APP2 = 0xe2;

/** Application segments that say what the colours are. */
const JFIF = 0xe0;
const ADOBE = 0xee;

const PROFILE = Buffer.from('ICC_PROFILE\0', 'latin1');

/**
 * Each scan of a progressive JPEG goes over all of the picture, and takes a few bytes of the file; with one for
 * each bit of each coefficient there can be thousands. Encoders make about ten.
 */
const MAX_SCANS = 100;

/**
 * Samples that all scans together may go over: the pixels, times the components of each scan. Encoders' own scripts
 * make 14 of the pixels in colour, 24 in CMYK; this is 100 of 4096 x 4096, which take about 0.6 s where they are empty.
 */
const MAX_SCANNED = 100 * MAX_PIXELS;

/**
 * The same of arithmetic coding, whose empty scans take ten times as long: 16 of 4096 x 4096, 1.3 s. Pillow
 * reads it, so we do.
 */
const MAX_SCANNED_ARITHMETIC = 16 * MAX_PIXELS;

/** Segments that are kept: tables, frame and scans. A profile may have 255. */
const MAX_SEGMENTS = 1_000;

interface Segment {
  readonly marker: number;
  /** From its marker to its end, the coded data of a scan included. */
  readonly whole: Buffer;
  /** What its length counts. */
  readonly body: Buffer;
}

interface Frame extends Pick<Bare, 'width' | 'height'> {
  readonly isArithmetic: boolean;
}

const NOTHING = Buffer.alloc(0);

/**
 * Take the first picture of a JPEG out of its file.
 *
 * @throws LotusError `invalid_image`; Error, saying what is wrong with it.
 */
export function bareJpeg(bytes: Buffer): Bare {
  const kept: Buffer[] = [bytes.subarray(0, 2)];
  let frame: Frame | null = null;
  let exif: Buffer | null = null;
  let scans = 0;
  let scanned = 0;
  let profileBytes = 0;
  /** The marker of what is left out behind all that is kept: a scan ends there, and not at the end of the file. */
  let behind: Buffer | null = null;
  for (const { marker, whole, body } of bounded(segments(bytes))) {
    if (marker === APP1 && exif === null && startsWith(body, EXIF_PREFIX)) {
      exif = body.subarray(EXIF_PREFIX.length);
      kept.push(...orientationSegment(readOrientation(exif)));
    }
    if (!isNeeded(marker, body)) {
      behind ??= whole.subarray(0, 2);
      continue;
    }
    behind = null;
    if (marker === APP2) profileBytes += body.length;
    if (isFrame(marker)) frame ??= readFrame(marker, body);
    if (marker === SOS) {
      scans += 1;
      // One before the frame is refused by every decoder.
      if (frame !== null) scanned += pixelsOf(frame) * (body[0] ?? 0);
    }
    kept.push(whole);
    if (profileBytes > MAX_PROFILE_BYTES) throw profileTooLarge();
    if (scans > MAX_SCANS) throw tooMany('scans', MAX_SCANS);
    if (frame !== null) admitWork(frame, scanned);
    if (kept.length > MAX_SEGMENTS) throw tooMany('segments', MAX_SEGMENTS);
  }
  if (frame === null) throw new Error('it has no frame header');
  if (behind !== null && scans > 0) kept.push(behind);
  return { bytes: Buffer.concat(kept), width: frame.width, height: frame.height };
}

/** Go over a JPEG's segments as a decoder does: what lies between two of them is skipped. */
function* segments(bytes: Buffer): Generator<Segment> {
  let at = 2;
  let hasScan = false;
  while (true) {
    at = bytes.indexOf(0xff, at);
    if (at === -1) return;
    while (bytes[at] === 0xff) at += 1; // fill bytes
    const marker = bytes[at];
    if (marker === undefined) return;
    const start = at - 1;
    at += 1;
    const alone = { marker, whole: bytes.subarray(start, at), body: NOTHING };
    if (marker === 0 || isRestart(marker)) {
      yield alone; // out of place and not needed, but counted
      continue;
    }
    if (marker === EOI) {
      yield alone;
      return;
    }
    const isCut = at + 2 > bytes.length;
    const length = marker === SOI || isCut ? 0 : bytes.readUInt16BE(at);
    if (length < 2) {
      if (!hasScan && marker === SOI) throw new Error('another image begins inside of it');
      if (!hasScan && !isCut) throw new Error(`it has a segment of ${length} bytes`);
      // Whether the picture was whole until here, the decoder says, by this very marker.
      yield alone;
      return;
    }
    hasScan ||= marker === SOS;
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
  return marker >= 0xc0 && marker < 0xe0 && !isRestart(marker); // tables, frame, scans, end
}

function readFrame(marker: number, body: Buffer): Frame {
  if (body.length < 5) throw new Error('its frame header is cut off');
  const isArithmetic = marker >= 0xc9;
  return { height: body.readUInt16BE(1), width: body.readUInt16BE(3), isArithmetic };
}

/** What is larger than the largest is refused for that. */
function pixelsOf({ width, height }: Frame): number {
  return Math.min(width * height, MAX_PIXELS);
}

/** @throws LotusError `invalid_image` when the scans together go over too much. */
function admitWork({ isArithmetic }: Frame, scanned: number): void {
  const most = isArithmetic ? MAX_SCANNED_ARITHMETIC : MAX_SCANNED;
  if (scanned <= most) return;
  const coding = isArithmetic ? ' in arithmetic coding' : '';
  throw new LotusError(
    'invalid_image',
    `The JPEG image has scans of more than ${most} samples${coding}. Save it again with an ordinary encoder.`,
  );
}

function orientationSegment(orientation: number): Buffer[] {
  if (orientation === UPRIGHT) return [];
  const tiff = writeOrientation(orientation);
  const length = 2 + EXIF_PREFIX.length + tiff.length;
  return [Buffer.from([0xff, APP1, length >> 8, length & 255]), EXIF_PREFIX, tiff];
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
