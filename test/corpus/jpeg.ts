/** JPEGs by hand. */

export function segment(marker: number, body: Uint8Array = new Uint8Array(0)): Buffer {
  const head = Buffer.from([0xff, marker, 0, 0]);
  head.writeUInt16BE(body.length + 2, 2);
  return Buffer.concat([head, body]);
}

/** A JPEG with segments of the caller's behind its first two bytes. */
export const withSegments = (jpeg: Buffer, ...segments: Buffer[]) =>
  Buffer.concat([jpeg.subarray(0, 2), ...segments, jpeg.subarray(2)]);

export const exifSegment = (tiff: Uint8Array) =>
  segment(0xe1, Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), tiff]));

/** A part of a colour profile, numbered from 1. */
export const profileSegment = (part: number, of: number, bytes: Uint8Array) =>
  segment(
    0xe2,
    Buffer.concat([Buffer.from('ICC_PROFILE\0', 'latin1'), Buffer.from([part, of]), bytes]),
  );

/** Write other edges into the frame header of a baseline JPEG. */
export function withEdges(jpeg: Buffer, width: number, height: number): Buffer {
  const changed = Buffer.from(jpeg);
  const frame = changed.indexOf(Buffer.from([0xff, 0xc0]));
  changed.writeUInt16BE(height, frame + 5);
  changed.writeUInt16BE(width, frame + 7);
  return changed;
}

const SOI = Buffer.from([0xff, 0xd8]);
const EOI = Buffer.from([0xff, 0xd9]);

/** Two codes of two bits: 00 and 01. */
const codes = (tableClass: number, symbols: readonly [number, number]) =>
  segment(0xc4, Buffer.from([tableClass << 4, 0, 2, ...Array(14).fill(0), ...symbols]));

const scanHeader = (from: number, to: number, high: number, low: number) =>
  segment(0xda, Buffer.from([1, 1, 0, from, to, (high << 4) | low]));

/**
 * A grey progressive JPEG that is legal in every scan, each a few bytes that a decoder goes over all the picture
 * for: one coefficient after the other, one bit after the other. At most 1 + 63 * 14 scans; edges in multiples
 * of 8.
 */
export function makeProgressive(width: number, height: number, scans: number): Buffer {
  const blocks = (width / 8) * (height / 8);
  const frame = Buffer.from([8, 0, 0, 0, 0, 1, 1, 0x11, 0]);
  frame.writeUInt16BE(height, 1);
  frame.writeUInt16BE(width, 3);
  const parts = [
    SOI,
    segment(0xdb, Buffer.concat([Buffer.alloc(1), Buffer.alloc(64, 1)])),
    segment(0xc2, frame),
    codes(0, [0, 1]),
    codes(1, [0xe0, 0]), // 00: the next 2^14 blocks have nothing, and as many as 14 bits say
    scanHeader(0, 0, 0, 0),
    Buffer.alloc(Math.ceil(blocks / 4)),
  ];
  const empty = Buffer.alloc(2 * Math.ceil(blocks / 2 ** 14));
  for (let scan = 0; scan < scans - 1; scan += 1) {
    const coefficient = 1 + Math.floor(scan / 14);
    const low = 13 - (scan % 14);
    parts.push(scanHeader(coefficient, coefficient, low === 13 ? 0 : low + 1, low), empty);
  }
  return Buffer.concat([...parts, EOI]);
}

/**
 * A progressive JPEG in arithmetic coding, legal in every scan, with next to nothing in any: its decoder takes what is
 * missing for zeros, and decides as much for them. The first scan is of all components, the others of one.
 *
 * @param scans at most 1 + 14 for each component.
 */
export function makeArithmetic(
  width: number,
  height: number,
  components: number,
  scans: number,
): Buffer {
  const numbers = Array.from({ length: components }, (_, i) => i + 1);
  const frame = Buffer.from([8, 0, 0, 0, 0, components, ...numbers.flatMap((n) => [n, 0x11, 0])]);
  frame.writeUInt16BE(height, 1);
  frame.writeUInt16BE(width, 3);
  const scan = (of: readonly number[], from: number, to: number, high: number, low: number) => {
    const which = of.flatMap((n) => [n, 0]);
    const header = segment(0xda, Buffer.from([of.length, ...which, from, to, (high << 4) | low]));
    return Buffer.concat([header, Buffer.alloc(16)]);
  };
  const details = numbers.flatMap((n) =>
    Array.from({ length: 14 }, (_, i) => scan([n], 1, 63, i === 0 ? 0 : 14 - i, 13 - i)),
  );
  return Buffer.concat([
    SOI,
    segment(0xdb, Buffer.concat([Buffer.alloc(1), Buffer.alloc(64, 1)])),
    segment(0xca, frame),
    scan(numbers, 0, 0, 0, 13),
    ...details.slice(0, scans - 1),
    EOI,
  ]);
}
