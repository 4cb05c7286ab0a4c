import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { hasTrueColour } from '../../src/cli/terminal.ts';
import { hasTerminal } from './cli.ts';

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

describe.runIf(hasTerminal)('a terminal', () => {
  it.each([
    ['is drawn over', 'xterm', true],
    ['gets lines only when it is dumb', 'dumb', false],
  ])('%s', async (_what, TERM, isDrawn) => {
    const program = fileURLToPath(new URL('../fixtures/cli/terminal.ts', import.meta.url));
    const command = `'${process.execPath}' '${program}'`;
    const { stdout } = await execa('script', ['-qec', command, '/dev/null'], {
      stdin: 'ignore',
      env: { TERM },
    });
    expect(stdout).toContain('photo.jpg: no such file');
    expect(stdout.includes('loading the model')).toBe(isDrawn);
    expect(stdout.includes('\x1b')).toBe(isDrawn);
  });
});
