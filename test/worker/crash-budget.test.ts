import { describe, expect, it } from 'vitest';
import { CrashBudget } from '../../src/worker/crash-budget.ts';

function budgetOf(max: number) {
  let now = 0;
  const budget = new CrashBudget({ max, windowMs: 1000 }, () => now);
  return {
    budget,
    pass: (ms: number) => {
      now += ms;
    },
  };
}

describe('the budget of crashes', () => {
  it('is over with the last of so many in a row, however slowly they come', () => {
    const { budget, pass } = budgetOf(3);
    expect(budget.spend()).toBe(false);
    pass(5000);
    expect(budget.spend()).toBe(false);
    pass(5000);
    expect(budget.spend()).toBe(true);
  });

  it('is over with so many in the window, though runs went well in between', () => {
    const { budget, pass } = budgetOf(3);
    for (const isOver of [false, false, true]) {
      expect(budget.spend()).toBe(isOver);
      budget.worked();
      pass(400);
    }
  });

  it('forgets what is older than the window', () => {
    const { budget, pass } = budgetOf(3);
    for (let i = 0; i < 10; i += 1) {
      expect(budget.spend()).toBe(false);
      budget.worked();
      pass(501);
    }
  });

  it('does not count in the window what it was told to forgive, before or after it came', () => {
    const { budget } = budgetOf(3);
    for (let i = 0; i < 10; i += 1) {
      expect(budget.spend()).toBe(false);
      budget.forgive();
      budget.forgive();
      expect(budget.spend()).toBe(false);
      budget.worked();
    }
    expect(budget.spent).toBe(0);
  });

  it('counts in a row also what it has forgiven', () => {
    const { budget } = budgetOf(2);
    expect(budget.spend()).toBe(false);
    budget.forgive();
    expect(budget.spend()).toBe(true);
  });
});
