/** The one thing that EXIF is read for: how the camera was held. */

/** Source: the TIFF 6.0 specification, and EXIF 2.32 for the values. */
const ORIENTATION = 0x0112;
const SHORT = 3;
const ENTRY_BYTES = 12;

/** The bytes of a whole number, by its type. Orientation is a SHORT; some programs write another, and readers take it. */
const NUMBER_BYTES: Readonly<Record<number, 1 | 2 | 4>> = { 1: 1, [SHORT]: 2, 4: 4 };

/** What stands before it in a JPEG. */
export const EXIF_PREFIX = Buffer.from('Exif\0\0', 'latin1');

/** As the camera saw it. */
export const UPRIGHT = 1;

/**
 * Read the orientation of the main image.
 *
 * @param tiff EXIF as a TIFF file, without any prefix.
 * @returns 1 to 8; 1 where it tells none, or makes no sense.
 */
export function readOrientation(tiff: Buffer): number {
  const order = tiff.toString('latin1', 0, 4);
  if (order !== 'II*\0' && order !== 'MM\0*') return UPRIGHT;
  const number = (at: number, bytes: 1 | 2 | 4) => {
    if (at + bytes > tiff.length) return 0;
    return order === 'II*\0' ? tiff.readUIntLE(at, bytes) : tiff.readUIntBE(at, bytes);
  };
  const directory = number(4, 4);
  const first = directory + 2;
  for (let i = 0; i < number(directory, 2); i += 1) {
    const entry = first + i * ENTRY_BYTES;
    if (number(entry, 2) !== ORIENTATION) continue;
    const bytes = NUMBER_BYTES[number(entry + 2, 2)];
    const value = bytes === undefined ? UPRIGHT : number(entry + 8, bytes);
    return value >= 1 && value <= 8 ? value : UPRIGHT;
  }
  return UPRIGHT;
}

/** EXIF that tells the orientation and nothing else, as a TIFF file. */
export function writeOrientation(orientation: number): Buffer {
  const tiff = Buffer.alloc(26);
  tiff.write('II*\0', 'latin1');
  tiff.writeUInt32LE(8, 4); // where the directory is
  tiff.writeUInt16LE(1, 8); // its entries
  tiff.writeUInt16LE(ORIENTATION, 10);
  tiff.writeUInt16LE(SHORT, 12);
  tiff.writeUInt32LE(1, 14);
  tiff.writeUInt16LE(orientation, 18);
  return tiff;
}
