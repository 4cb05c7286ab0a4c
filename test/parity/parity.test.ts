import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { APP_ROOT } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';

const { workspace } = readConfig(process.env);

/** With the stand-in; for the real upstream see the script. */
describe('the command line', () => {
  it('gives, bit for bit, what the pipeline gives when it is called directly', async () => {
    const run = await execa(
      path.join(workspace, 'venv', 'bin', 'python'),
      [
        path.join(import.meta.dirname, 'parity.py'),
        ...['--upstream', path.join(APP_ROOT, 'sample', 'upstream')],
        ...['--model', path.join(APP_ROOT, 'sample', 'checkpoint'), '--quick'],
      ],
      { reject: false, env: { LOTUS_SAMPLE: '' } },
    );
    expect(run.stdout).toMatch(/^0 maps differ$/m);
    expect(run.stdout.match(/identical/g)).toHaveLength(25);
    expect(run.exitCode).toBe(0);
  });
});
