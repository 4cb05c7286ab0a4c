import { describe, expect, it } from 'vitest';
import { scale } from '../../src/image/scale.ts';

/** Grey pixels as RGB. */
function rgb(values: readonly number[]): Buffer {
  return Buffer.from(values.flatMap((value) => [value, value, value]));
}

describe('scale', () => {
  it('gives the size that is wanted, whatever the proportions', async () => {
    const image = { pixels: Buffer.alloc(40 * 30 * 3, 7), width: 40, height: 30 };
    const scaled = await scale(image, { width: 10, height: 50 });
    expect(scaled).toEqual({ pixels: Buffer.alloc(10 * 50 * 3, 7), width: 10, height: 50 });
  });

  it('counts every pixel when it makes a picture smaller', async () => {
    const stripes = Array.from({ length: 64 }, (_, i) => (i % 2 === 0 ? 0 : 200));
    const { pixels } = await scale(
      { pixels: rgb(stripes), width: 64, height: 1 },
      { width: 4, height: 1 },
    );
    for (const value of pixels) expect(Math.abs(value - 100)).toBeLessThan(10);
  });

  it.each([8, 24, 200])('has nothing beyond both sides of an edge at a width of %i', async (to) => {
    const edge = Array.from({ length: 64 }, (_, i) => (i < 32 ? 80 : 160));
    const { pixels } = await scale(
      { pixels: rgb(edge), width: 64, height: 1 },
      { width: to, height: 1 },
    );
    expect([Math.min(...pixels), Math.max(...pixels)]).toEqual([80, 160]);
    expect([...pixels]).toEqual([...pixels].sort((a, b) => a - b));
  });
});
