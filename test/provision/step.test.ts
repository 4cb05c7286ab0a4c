import { describe, expect, it } from 'vitest';
import { SetupError } from '../../src/errors.ts';
import { type Step, takeSteps } from '../../src/provision/step.ts';

const step = (name: string, found: string | null, make: Step['make']): Step => ({
  name,
  check: async () => found,
  make,
});

describe('takeSteps', () => {
  it('is silent about what is there already, and does not make it again', async () => {
    const lines: string[] = [];
    const made = step('venv', 'Python 3.12', () => expect.unreachable('it was there'));
    const outcomes = await takeSteps([made], (line) => lines.push(line));
    expect(outcomes).toMatchObject([{ name: 'venv', made: false, what: 'Python 3.12' }]);
    expect(lines).toEqual([]);
  });

  it('makes what is missing, in the order of the steps, and says so', async () => {
    const lines: string[] = [];
    const steps = ['one', 'two'].map((name) =>
      step(name, null, async (report) => {
        report('working');
        return 'done';
      }),
    );
    await takeSteps(steps, (line) => lines.push(line.replace(/\(.*\)/, '(time)')));
    expect(lines).toEqual(['one: working', 'one: done (time)', 'two: working', 'two: done (time)']);
  });

  it('stops at the step that fails', async () => {
    const fails = step('one', null, () => Promise.reject(new SetupError('no network')));
    const never = step('two', null, () => expect.unreachable('it came after a failure'));
    await expect(takeSteps([fails, never], () => {})).rejects.toThrow('no network');
  });
});
