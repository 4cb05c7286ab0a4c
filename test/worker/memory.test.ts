import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { Growth, privateMemory } from '../../src/worker/memory.ts';

const MIB = 2 ** 20;

describe('the memory of a process', () => {
  it.skipIf(process.platform !== 'linux')('is what it has to itself', () => {
    const before = privateMemory(process.pid) ?? 0;
    const block = Buffer.alloc(256 * MIB, 1);
    const after = privateMemory(process.pid) ?? 0;
    expect(block[0]).toBe(1);
    expect(before).toBeGreaterThan(MIB);
    expect(after - before).toBeGreaterThan(200 * MIB);
  });

  it('is not known of one that has ended', async () => {
    const child = execa('true');
    await child;
    expect(privateMemory(child.pid ?? 0)).toBe(null);
  });
});

describe('growth', () => {
  it('is counted from the first run, and told when it is too much', () => {
    const growth = new Growth(100);
    expect(growth.tooMuch(1000)).toBe(null);
    expect(growth.tooMuch(1100)).toBe(null);
    expect(growth.tooMuch(900)).toBe(null);
    expect(growth.tooMuch(1101)).toBe(101);
  });
});
