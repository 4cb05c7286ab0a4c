import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeNpy } from '../../src/image/npy.ts';

/** Read a file as numpy's `numpy.lib.format` documentation lays it out, version 1.0. */
function parse(file: Buffer) {
  expect(file.toString('latin1', 0, 6)).toBe('\x93NUMPY');
  expect([file[6], file[7]]).toEqual([1, 0]);
  const begin = 10 + file.readUInt16LE(8);
  const header = file.toString('latin1', 10, begin);
  const [, descr, fortran, height, width] =
    /^\{'descr': '(.*)', 'fortran_order': (True|False), 'shape': \((\d+), (\d+)\), \} *\n$/.exec(
      header,
    ) ?? [];
  return {
    descr,
    fortran,
    shape: [Number(height), Number(width)],
    begin,
    values: file.subarray(begin),
  };
}

function floats(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) bytes.writeFloatLE(value, i * 4);
  return bytes;
}

const edge = fc.integer({ min: 1, max: 9_999_999 });

describe('encodeNpy', () => {
  it('writes what numpy.save writes, byte for byte', () => {
    // numpy 2.2.3: np.save(file, np.array([[0, 1.5, -2], [3.14159274, 65504, 1e-7]], dtype='<f4'))
    const saved = Buffer.concat([
      Buffer.from('\x93NUMPY\x01\x00\x76\x00', 'latin1'),
      Buffer.from("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".padEnd(117)),
      Buffer.from('\n'),
      Buffer.from('000000000000c03f000000c0db0f494000e07f4795bfd633', 'hex'),
    ]);
    const file = encodeNpy(floats(0, 1.5, -2, Math.PI, 65504, 1e-7), [2, 3]);
    expect(file.toString('hex')).toBe(saved.toString('hex'));
  });

  it.each([
    [1, 1],
    [640, 480],
    [1, 4096],
    [4096, 1],
  ])('gives a map of %i x %i the shape (height, width)', (width, height) => {
    const { descr, fortran, shape } = parse(encodeNpy(Buffer.alloc(4), [height, width]));
    expect({ descr, fortran, shape }).toEqual({
      descr: '<f4',
      fortran: 'False',
      shape: [height, width],
    });
  });

  it('begins the values at a multiple of 64 bytes, whatever the shape', () => {
    fc.assert(
      fc.property(edge, edge, (width, height) => {
        const { begin, shape } = parse(encodeNpy(new Uint8Array(0), [height, width]));
        expect(begin % 64).toBe(0);
        expect(shape).toEqual([height, width]);
      }),
    );
  });

  it('keeps the values, bit for bit', () => {
    fc.assert(
      fc.property(fc.array(fc.float(), { minLength: 1, maxLength: 200 }), (values) => {
        const bytes = floats(...values);
        expect(parse(encodeNpy(bytes, [1, values.length])).values.equals(bytes)).toBe(true);
      }),
    );
  });

  it('takes the values of a view, not of the memory behind it', () => {
    const memory = floats(1, 2, 3);
    expect(parse(encodeNpy(memory.subarray(4), [1, 2])).values.equals(floats(2, 3))).toBe(true);
  });
});
