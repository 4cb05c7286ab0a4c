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
  skipped,
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
      { state: 'missing', what: 'packages', needs: 7 },
    ]);
    expect(made).toEqual({ python: '/python', flashAttn: null });
  });

  it('goes on after a step that is optional and cannot even be looked at, and says why', async () => {
    const breaks: Step = {
      name: 'one',
      optional: true,
      check: () => Promise.reject(new Error('damaged')),
      make: never('nothing is known of it'),
    };
    const after = step('two', ready('there'), never('it was there'));
    const { checked } = await checkSteps([breaks, after]);
    expect(checked.map(({ found }) => found)).toMatchObject([
      { state: 'skipped', what: 'damaged' },
      { state: 'ready' },
    ]);
    const { outcomes } = await makeSteps([breaks, after], {});
    expect(outcomes.map(({ state }) => state)).toEqual(['skipped', 'ready']);
  });

  it('does not go on when it is interrupted in an optional step', async () => {
    const stops: Step = {
      name: 'one',
      optional: true,
      check: () => Promise.reject(cancelled()),
      make: never('it was interrupted'),
    };
    await expect(checkSteps([stops])).rejects.toThrow('Cancelled');
  });

  it('names the step that it ends at', async () => {
    const failed: string[] = [];
    const breaks = {
      ...step('two', ready(''), never('')),
      check: () => Promise.reject(new Error()),
    };
    const steps = [step('one', ready('there'), never('it was there')), breaks];
    await expect(checkSteps(steps, { failed: (name) => failed.push(name) })).rejects.toThrow();
    expect(failed).toEqual(['two']);
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
    expect(seen).toEqual({ flashAttn: null, interpreter: '/one', python: '/two' });
  });

  it('looks at every step once, and at all of them before it makes the first', async () => {
    const events: string[] = [];
    const steps = ['one', 'two'].map((name) => ({
      name,
      check: async () => {
        events.push(`look at ${name}`);
        return missing(name, 1);
      },
      make: async () => {
        events.push(`make ${name}`);
        return ready('done');
      },
    }));
    await makeSteps(steps, {}, async (checked) => {
      events.push(`prepare for ${checked.map(({ found }) => found.what)}`);
      return checked;
    });
    expect(events).toEqual([
      ...['look at one', 'look at two', 'prepare for one,two', 'make one', 'make two'],
    ]);
  });

  it('makes nothing when it cannot be prepared for', async () => {
    const steps = [step('one', missing('it'), never('there is no room for it'))];
    const noRoom = () => Promise.reject(new SetupError('no room'));
    await expect(makeSteps(steps, {}, noRoom)).rejects.toThrow('no room');
  });

  it('does not make what it was prepared to do without', async () => {
    const large = step('one', missing('it', 7), never('there is no room for it'));
    const after = step('two', missing('it'), async () => ready('done'));
    const { outcomes } = await makeSteps([large, after], {}, async (checked) =>
      checked.map((one) => (one.step === large ? { ...one, found: skipped('no room') } : one)),
    );
    expect(outcomes).toMatchObject([
      { name: 'one', state: 'skipped', what: 'no room' },
      { name: 'two', state: 'made' },
    ]);
  });

  it('stops at the step that fails, and names it', async () => {
    const failed: string[] = [];
    const fails = step('one', missing('it'), () => Promise.reject(new SetupError('no network')));
    const after = step('two', missing('it'), never('it came after a failure'));
    const made = makeSteps([fails, after], { failed: (name) => failed.push(name) });
    await expect(made).rejects.toThrow('no network');
    expect(failed).toEqual(['one']);
  });

  it('goes on without a step that is optional, and says why', async () => {
    const fails = step('one', missing('it'), () => Promise.reject(new SetupError('no wheel')));
    const after = step('two', missing('it'), async () => ready('done'));
    const { outcomes, made } = await makeSteps([{ ...fails, optional: true }, after], {});
    expect(made.flashAttn).toBe(null);
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
