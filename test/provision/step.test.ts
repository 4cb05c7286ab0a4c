import { describe, expect, it } from 'vitest';
import { cancelled, SetupError } from '../../src/errors.ts';
import {
  checkSteps,
  type Made,
  type Missing,
  makeSteps,
  missing,
  type Ready,
  ready,
  type Step,
} from '../../src/provision/step.ts';

const step = (name: string, found: Ready | Missing, make: Step['make']): Step => ({
  name,
  check: async () => found,
  make,
});

const never = (why: string) => async () => expect.unreachable(why);

describe('checkSteps', () => {
  it('says what is there and what is to be made, and makes nothing', async () => {
    const steps = [
      step('one', ready('there', { python: '/python' }), never('it was there')),
      step('two', missing('packages', 7), never('it was only asked')),
    ];
    const { checked, made } = await checkSteps(steps);
    expect(checked.map(({ found }) => found)).toEqual([
      { state: 'ready', what: 'there', gives: { python: '/python' } },
      { state: 'missing', what: 'packages', bytes: 7 },
    ]);
    expect(made).toEqual({ python: '/python' });
  });
});

describe('makeSteps', () => {
  it('does not make again what is there', async () => {
    const there = step('venv', ready('Python 3.12'), never('it was there'));
    const { outcomes } = await makeSteps([there], {});
    expect(outcomes).toMatchObject([{ name: 'venv', state: 'ready', what: 'Python 3.12' }]);
  });

  it('makes what is missing, in the order of the steps, and says so', async () => {
    const events: string[] = [];
    const steps = ['one', 'two'].map((name) =>
      step(name, missing('it'), async (_made, report) => {
        report('working');
        return ready('done');
      }),
    );
    await makeSteps(steps, {
      began: (name) => events.push(`${name} began`),
      said: (name, line) => events.push(`${name} said ${line}`),
      ended: ({ name, state, what }) => events.push(`${name} ${state} ${what}`),
    });
    expect(events).toEqual([
      ...['one began', 'one said working', 'one made done'],
      ...['two began', 'two said working', 'two made done'],
    ]);
  });

  it('hands what a step gives to those after it, whether it was there or made', async () => {
    let seen: Made | undefined;
    const steps = [
      step('one', ready('there', { interpreter: '/one' }), never('it was there')),
      step('two', missing('it'), async () => ready('done', { python: '/two' })),
      step('three', missing('it'), async (made) => {
        seen = { ...made };
        return ready('done');
      }),
    ];
    await makeSteps(steps, {});
    expect(seen).toEqual({ interpreter: '/one', python: '/two' });
  });

  it('stops at the step that fails', async () => {
    const fails = step('one', missing('it'), () => Promise.reject(new SetupError('no network')));
    const after = step('two', missing('it'), never('it came after a failure'));
    await expect(makeSteps([fails, after], {})).rejects.toThrow('no network');
  });

  it('goes on without a step that is optional, and says why', async () => {
    const fails = step('one', missing('it'), () => Promise.reject(new SetupError('no wheel')));
    const after = step('two', missing('it'), async () => ready('done'));
    const { outcomes } = await makeSteps([{ ...fails, optional: true }, after], {});
    expect(outcomes).toMatchObject([
      { name: 'one', state: 'skipped', what: 'no wheel' },
      { name: 'two', state: 'made' },
    ]);
  });

  it('does not take an interruption of an optional step for its failure', async () => {
    const stops = step('one', missing('it'), () => Promise.reject(cancelled()));
    await expect(makeSteps([{ ...stops, optional: true }], {})).rejects.toThrow('Cancelled');
  });

  it.each([
    ['EROFS', 'mounted read-only'],
    ['ENOSPC', 'is full'],
    ['EDQUOT', 'is full'],
    ['EACCES', 'may not write there'],
    ['EIO', 'WORKSPACE can be written to'],
  ])("says what to do about the file system's %s", async (code, advice) => {
    const error = Object.assign(new Error(`${code}: it says so`), { code, syscall: 'mkdir' });
    const fails = step('volume', missing('it'), () => Promise.reject(error));
    await expect(makeSteps([fails], {})).rejects.toThrow(advice);
  });
});
