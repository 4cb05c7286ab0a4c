import { describe, expect, it } from 'vitest';
import { hasTrueColour } from '../../src/cli/terminal.ts';

const GOOD = { TERM: 'xterm-256color', COLORTERM: 'truecolor' };

describe('24-bit colours', () => {
  it.each([GOOD, { ...GOOD, COLORTERM: '24bit' }, { ...GOOD, NO_COLOR: '' }])(
    'are shown by a terminal with %j',
    (env) => expect(hasTrueColour(true, env)).toBe(true),
  );

  it.each([
    { ...GOOD, COLORTERM: '' },
    { ...GOOD, COLORTERM: 'yes' },
    { TERM: 'xterm-256color' },
    { ...GOOD, TERM: 'dumb' },
    { ...GOOD, NO_COLOR: '1' },
  ])('are not shown by a terminal with %j', (env) => expect(hasTrueColour(true, env)).toBe(false));

  it('are not written where there is no terminal', () => {
    expect(hasTrueColour(false, GOOD)).toBe(false);
  });
});
