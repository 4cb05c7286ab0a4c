import { describe, expect, it } from 'vitest';
import { Bounded } from '../../src/time/bounded.ts';

describe('bounded calls', () => {
  it('give what the call gives, or throw what it throws', async () => {
    const calls = new Bounded({ waitMs: 60_000, maxHanging: 1 });
    expect(await calls.run(async () => 7)).toBe(7);
    await expect(calls.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(calls.hanging).toBe(0);
  });

  it('are not waited for beyond their time, and others are not begun beside too many that hang', async () => {
    const calls = new Bounded({ waitMs: 20, maxHanging: 2 });
    const hung = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    for (const { promise } of hung) {
      await expect(calls.run(() => promise)).rejects.toThrow('no answer in 0.02 s');
    }
    let isBegun = false;
    const third = calls.run(async () => {
      isBegun = true;
    });
    await expect(third).rejects.toThrow('2 calls before it hang');
    expect(isBegun).toBe(false);
    hung[0]?.resolve();
    await hung[0]?.promise;
    expect(await calls.run(async () => 'again')).toBe('again');
    hung[1]?.reject(new Error('late, and nobody is there to hear it'));
  });

  it('are given up when nobody wants them any more, before or while they are under way', async () => {
    const calls = new Bounded({ waitMs: 60_000, maxHanging: 9 });
    const never = () => new Promise<never>(() => {});
    await expect(calls.run(never, AbortSignal.abort())).rejects.toThrow('nobody waits');
    const unwanted = new AbortController();
    const call = calls.run(never, unwanted.signal);
    unwanted.abort();
    await expect(call).rejects.toThrow('nobody waits');
  });
});
