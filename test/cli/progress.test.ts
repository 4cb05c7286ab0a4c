import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { execa, execaSync } from 'execa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { APP_ROOT } from '../../src/app.ts';
import { showProgress } from '../../src/cli/progress.ts';
import { Terminal } from '../../src/cli/terminal.ts';
import { readConfig } from '../../src/config.ts';
import { startHub } from '../fixtures/hub.ts';
import { interpreter } from '../fixtures/provision/chaos-workspace.ts';
import { makeSmallApp } from '../provision/small-app.ts';
import { temporaryFolder } from './cli.ts';

const LARGE_FILE = 'unet/padding.safetensors';

/** With a file that takes some seconds. */
async function slowHub() {
  const hub = await startHub({
    models: {
      'org/lotus': {
        folder: path.join(APP_ROOT, 'sample', 'checkpoint'),
        files: { [LARGE_FILE]: randomBytes(40_000_000) },
        revision: 'a'.repeat(40),
      },
    },
    faults: [{ at: LARGE_FILE, method: 'GET', kind: 'trickle', bytes: 1_000_000, pauseMs: 75 }],
  });
  onTestFinished(() => hub.close());
  return hub;
}

/** `script`, of util-linux, runs a command on a terminal of its own. */
const hasTerminal = !execaSync('script', ['-qec', 'true', '/dev/null'], { reject: false }).failed;

describe('a download', () => {
  it.runIf(hasTerminal)(
    'draws on a terminal how far it is, and clears up after itself',
    async () => {
      const hub = await slowHub();
      const dir = await temporaryFolder();
      const app = await makeSmallApp(path.join(dir, 'app'));
      const main = path.join(app.root, 'src', 'cli', 'main.ts');
      const command = `stty cols 120; exec '${process.execPath}' '${main}' prefetch`;
      const { stdout, exitCode } = await execa('script', ['-qec', command, '/dev/null'], {
        stdin: 'ignore',
        env: {
          WORKSPACE: path.join(dir, 'Lotus'),
          UV_CACHE_DIR: readConfig(process.env).uvCache,
          LOTUS_PYTHON: await interpreter(),
          MODEL_ID: 'org/lotus',
          HF_ENDPOINT: hub.url,
          NO_PROXY: '*',
        },
      });
      expect(exitCode).toBe(0);
      expect(stdout).toMatch(
        /\[#+-+\] weights: downloading \d+ MB of 5\d MB, [\d.]+ MB\/s, \d+ s to go/,
      );
      const [, last = ''] = stdout.split('to go').slice(-2);
      expect(last).toContain('\u001b[K');
      expect(stdout.trimEnd()).toMatch(/is ready( \([\d.]+ s\))?$/);
    },
  );

  it('is a line from time to time where nobody is looking, and none when nothing came', () => {
    const lines: string[] = [];
    const terminal = new Terminal();
    expect(terminal.isInteractive).toBeFalsy();
    const show = showProgress(terminal, (line, step) => lines.push(`${step} ${line}`), {
      draw: 0,
      log: 0,
    });
    show('weights', 'downloading', 1e9, 5e9); // what was there; that was said already
    show('weights', 'downloading', 2e9, 5e9);
    show('weights', 'downloading', 2e9, 5e9);
    show('weights', 'checking', 0, 5e9);
    show('weights', 'checking', 5e9, 5e9);
    expect(lines).toEqual([
      expect.stringMatching(/^weights weights: downloading 2\.0 GB of 5\.0 GB, \d.* to go$/),
      expect.stringMatching(/^weights weights: checking 5\.0 GB of 5\.0 GB, /),
    ]);
  });
});
