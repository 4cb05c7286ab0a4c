import { setImmediate as tick } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Places } from '../../src/image/places.ts';

/** Work that ends when it is told to. */
function work(begun: string[], name: string) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const run = async () => {
    begun.push(name);
    await promise;
    return name;
  };
  return { run, end: resolve };
}

describe('places', () => {
  it('are as many as there are, and go to whom has waited longest', async () => {
    const [places, begun] = [new Places(2), [] as string[]];
    const jobs = ['a', 'b', 'c', 'd'].map((name) => work(begun, name));
    const running = jobs.map(({ run }) => places.during(run));
    await tick();
    expect(begun).toEqual(['a', 'b']);
    jobs[1]?.end();
    expect(await running[1]).toBe('b');
    await tick();
    expect(begun).toEqual(['a', 'b', 'c']);
    for (const { end } of jobs) end();
    expect(await Promise.all(running)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('are free again when the work has failed', async () => {
    const places = new Places(1);
    const failing = async () => {
      throw new Error('it failed');
    };
    await expect(places.during(failing)).rejects.toThrow('it failed');
    expect(await places.during(async () => 'next')).toBe('next');
  });

  it('are not waited for by what is cancelled, and not lost by it', async () => {
    const [places, begun, stop] = [new Places(1), [] as string[], new AbortController()];
    const [first, second, third] = ['a', 'b', 'c'].map((name) => work(begun, name));
    if (!first || !second || !third) throw new Error('three');
    const running = places.during(first.run);
    const waiting = places.during(second.run, stop.signal);
    const last = places.during(third.run);
    stop.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    first.end();
    third.end();
    await Promise.all([running, last]);
    expect(begun).toEqual(['a', 'c']);
    expect(await places.during(async () => 'next')).toBe('next');
  });

  it('are not taken by what is cancelled before', async () => {
    const begun: string[] = [];
    const waiting = new Places(1).during(work(begun, 'a').run, AbortSignal.abort());
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    expect(begun).toEqual([]);
  });
});
