import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder the app lies in: a checkout, or an installed package. `src/` and `dist/` are both one below. */
export const APP_ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The folder of the code that runs: `src`, or `dist` where it was built. */
export const CODE_FOLDER = path.basename(import.meta.dirname);

/** The command line's first file. */
export const MAIN = path.join(
  import.meta.dirname,
  'cli',
  `main${path.extname(import.meta.filename)}`,
);

/** The folder that holds the Python side's package, for PYTHONPATH. */
export const PYTHON_ROOT = path.join(APP_ROOT, 'python');

/** The folder of the sample model, its stand-in for upstream, and the sample images. */
export const SAMPLE_ROOT = path.join(APP_ROOT, 'sample');

/** This version, as package.json has it. */
export const VERSION: string = JSON.parse(
  readFileSync(path.join(APP_ROOT, 'package.json'), 'utf8'),
).version;
