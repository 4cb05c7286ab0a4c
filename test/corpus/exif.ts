/** EXIF that no camera has written. */

const ENTRY_BYTES = 12;
const SHORT = 3;
const LONG = 4;
const UNDEFINED = 7;

type Entry = readonly [tag: number, type: number, count: number, value: number];

/** A TIFF of one directory, with room behind it. */
export function makeTiff(entries: readonly Entry[], bytes = 0): Buffer {
  const tiff = Buffer.alloc(Math.max(bytes, 14 + entries.length * ENTRY_BYTES));
  tiff.write('II*\0', 'latin1');
  tiff.writeUInt32LE(8, 4);
  tiff.writeUInt16LE(entries.length, 8);
  entries.forEach(([tag, type, count, value], i) => {
    const at = 10 + i * ENTRY_BYTES;
    tiff.writeUInt16LE(tag, at);
    tiff.writeUInt16LE(type, at + 2);
    tiff.writeUInt32LE(count, at + 4);
    tiff.writeUInt32LE(value, at + 8);
  });
  return tiff;
}

export const turned = (orientation: number) => makeTiff([[0x0112, SHORT, 1, orientation]]);

/** Its sub-directory, and the next one, are the directory itself. */
export function makeLoop(): Buffer {
  const tiff = makeTiff([[0x8769, LONG, 1, 8]]);
  tiff.writeUInt32LE(8, tiff.length - 4);
  return tiff;
}

/** Every known tag, each of them all of the file. */
export function makeHeavy(bytes: number): Buffer {
  const ranges = [
    [0x100, 0x215],
    [0x8298, 0x8769],
    [0x9000, 0x9300],
    [0xa000, 0xa500],
  ] as const; //
  const tags = ranges.flatMap(([from, to]) =>
    Array.from({ length: to - from }, (_, i) => from + i),
  );
  return makeTiff(
    tags.map((tag) => [tag, UNDEFINED, bytes - 16, 8]),
    bytes,
  );
}
