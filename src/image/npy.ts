const MAGIC = Buffer.from('\x93NUMPY', 'latin1');

/** The header is padded so that the values begin at a multiple of this. */
const ALIGNMENT = 64;

/**
 * Wrap little-endian float32 values as a NumPy file, format version 1.0.
 *
 * @param shape of two edges or more: of one, NumPy writes a comma behind it.
 * Source: numpy's `numpy.lib.format` documentation.
 */
export function encodeNpy(values: Uint8Array, shape: readonly number[]): Buffer {
  const description = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(', ')}), }`;
  const before = MAGIC.length + 2 + 2; // the version, and the header's length
  const unpadded = before + description.length + 1; // and its newline
  const padding = (ALIGNMENT - (unpadded % ALIGNMENT)) % ALIGNMENT;
  const header = `${description}${' '.repeat(padding)}\n`;
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  return Buffer.concat([MAGIC, Buffer.from([1, 0]), length, Buffer.from(header, 'latin1'), values]);
}
