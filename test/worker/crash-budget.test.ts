import { describe, expect, it } from 'vitest';
import { CrashBudget } from '../../src/worker/crash-budget.ts';

function budgetOf(max: number) {
  let now = 0;
  const budget = new CrashBudget({ max, windowMs: 1000 }, () => now);
  return {
    budget,
    crash: (isForgiven = false) => {
      const crash = { isForgiven };
      budget.spend(crash);
      return crash;
    },
    pass: (ms: number) => {
      now += ms;
    },
  };
}

describe('the budget of crashes', () => {
  it('is over with the last of so many in a row, however slowly they come', () => {
    const { budget, crash, pass } = budgetOf(3);
    crash();
    pass(5000);
    crash();
    expect(budget.excess).toBe(null);
    pass(5000);
    crash();
    expect(budget.excess).toBe('3 in a row');
  });

  it('is over with so many in the window, though runs went well in between', () => {
    const { budget, crash, pass } = budgetOf(3);
    for (const excess of [null, null, '3 in 1 s']) {
      crash();
      budget.worked();
      expect(budget.excess).toBe(excess);
      pass(400);
    }
  });

  it('forgets what is older than the window', () => {
    const { budget, crash, pass } = budgetOf(3);
    for (let i = 0; i < 10; i += 1) {
      crash();
      budget.worked();
      expect(budget.excess).toBe(null);
      pass(501);
    }
  });

  it('does not count in the window what is forgiven, before it came or after', () => {
    const { budget, crash } = budgetOf(3);
    for (let i = 0; i < 10; i += 1) {
      crash(true);
      crash().isForgiven = true;
      budget.worked();
      expect(budget.excess).toBe(null);
    }
    crash();
    crash();
    budget.worked();
    expect(budget.excess).toBe(null);
    crash();
    budget.worked();
    expect(budget.excess).toBe('3 in 1 s');
  });

  it('counts in a row also what is forgiven', () => {
    const { budget, crash } = budgetOf(2);
    crash(true);
    expect(budget.excess).toBe(null);
    crash(true);
    expect(budget.excess).toBe('2 in a row');
  });
});
