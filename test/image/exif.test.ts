import { describe, expect, it } from 'vitest';
import { readOrientation, writeOrientation } from '../../src/image/exif.ts';

/** EXIF of one entry, whose four bytes of value are given as they lie in the file. */
function exif(order: 'little' | 'big', type: number, value: readonly number[]): Buffer {
  const entry =
    order === 'little' ? [0x12, 1, type, 0, 1, 0, 0, 0] : [1, 0x12, 0, type, 0, 0, 0, 1];
  const head = order === 'little' ? 'II*\0\x08\0\0\0\x01\0' : 'MM\0*\0\0\0\x08\0\x01';
  return Buffer.concat([
    Buffer.from(head, 'latin1'),
    Buffer.from([...entry, ...value, 0, 0, 0, 0]),
  ]);
}

describe('the orientation', () => {
  it.each([
    ['BYTE', 'little', 1, [6, 0, 0, 0]],
    ['BYTE', 'big', 1, [6, 0, 0, 0]],
    ['SHORT', 'little', 3, [6, 0, 0, 0]],
    ['SHORT', 'big', 3, [0, 6, 0, 0]],
    ['LONG', 'little', 4, [6, 0, 0, 0]],
    ['LONG', 'big', 4, [0, 0, 0, 6]],
  ] as const)('is read as a %s, %s end first', (_type, order, type, value) => {
    expect(readOrientation(exif(order, type, value))).toBe(6);
  });

  it.each([
    ['a BYTE reads no further than itself', 1, [6, 9, 9, 9], 6],
    ['a SHORT reads no further than itself', 3, [6, 0, 9, 9], 6],
    ['a LONG reads all of itself', 4, [6, 0, 1, 0], 1],
  ] as const)('of %s', (_what, type, value, wanted) => {
    expect(readOrientation(exif('little', type, value))).toBe(wanted);
  });

  it.each([
    ['none', Buffer.alloc(0)],
    ['another type', exif('little', 7, [6, 0, 0, 0])],
    ['0', exif('little', 3, [0, 0, 0, 0])],
    ['9', exif('little', 3, [9, 0, 0, 0])],
    ['a value that is cut off', exif('little', 4, [6, 0, 0, 0]).subarray(0, 20)],
    ['another file', Buffer.from('GIF89a')],
  ])('is upright where it makes no sense: %s', (_what, tiff) => {
    expect(readOrientation(tiff)).toBe(1);
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])('is written as it is read: %i', (orientation) => {
    expect(readOrientation(writeOrientation(orientation))).toBe(orientation);
  });
});
