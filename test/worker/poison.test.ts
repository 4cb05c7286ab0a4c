import { describe, expect, it } from 'vitest';
import { PoisonList, Suspect } from '../../src/worker/poison.ts';
import { RUN } from './programs.ts';

const suspect = (...pixels: number[]) => suspectOf({}, ...pixels);
const suspectOf = (options: object, ...pixels: number[]) =>
  new Suspect({ pixels: Buffer.from(pixels), width: 1, height: 1 }, { ...RUN.options, ...options });
const crash = () => ({ isForgiven: false });

describe('the list of poison', () => {
  it('refuses what was blamed twice, and forgives its processes', () => {
    const list = new PoisonList();
    const crashes = [crash(), crash()] as const;
    expect(list.blame(suspect(1), crashes[0])).toBe(1);
    expect(() => list.refuse(suspect(1))).not.toThrow();
    expect(crashes[0].isForgiven).toBe(false);
    expect(list.blame(suspect(1), crashes[1])).toBe(2);
    expect(() => list.refuse(suspect(1))).toThrow('died of this image with these options twice');
    expect(crashes.map(({ isForgiven }) => isForgiven)).toEqual([true, true]);
    expect(() => list.refuse(suspect(2))).not.toThrow();
  });

  it('forgets what was blamed once and then went well', () => {
    const list = new PoisonList();
    list.blame(suspect(1), crash());
    list.clear(suspect(1));
    expect(list.blame(suspect(1), crash())).toBe(1);
  });

  it('knows the last thousand', () => {
    const list = new PoisonList();
    for (let n = 0; n < 1001; n += 1) {
      const one = suspect(n >> 8, n & 255);
      list.blame(one, crash());
      list.blame(one, crash());
    }
    expect(() => list.refuse(suspect(0, 0))).not.toThrow();
    expect(() => list.refuse(suspect(0, 1))).toThrow();
    expect(() => list.refuse(suspect(1000 >> 8, 1000 & 255))).toThrow();
  });

  it('gives one image one fingerprint, whatever its seed, and another with other options', () => {
    const printOf = (options: object) => suspectOf(options, 1).fingerprint;
    expect(printOf({ seed: 7 })).toBe(printOf({}));
    expect(printOf({ processing_res: 64 })).not.toBe(printOf({}));
  });
});
