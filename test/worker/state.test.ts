import { describe, expect, it } from 'vitest';
import { type State, step } from '../../src/worker/state.ts';

const LIFE: State[] = ['starting', 'loading', 'ready', 'running', 'ready', 'stopping', 'stopped'];

describe('the life of a worker', () => {
  it('goes from starting to stopped', () => {
    let state: State = 'starting';
    for (const next of LIFE.slice(1)) state = step(state, next);
    expect(state).toBe('stopped');
  });

  it.each(LIFE.slice(0, -1))('may end in a crash when it is %s', (state) => {
    expect(step(state, 'crashed')).toBe('crashed');
  });

  it.each([
    ['starting', 'ready'],
    ['loading', 'running'],
    ['ready', 'loading'],
    ['stopping', 'ready'],
    ['stopped', 'crashed'],
    ['crashed', 'starting'],
  ] as const)('does not go from %s to %s', (from, to) => {
    expect(() => step(from, to)).toThrow(`a ${from} worker cannot become ${to}`);
  });
});
