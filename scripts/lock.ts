/**
 * `npm run lock [-- --upgrade]`: writes `python/requirements/*.lock` from their `.in` files, every package with
 * its hashes, for every platform. Without --upgrade the versions that are locked already stay.
 */
import path from 'node:path';
import { execa } from 'execa';

const REQUIREMENTS = path.join(import.meta.dirname, '..', 'python', 'requirements');

/** dev holds runtime, so that a development venv serves where a runtime one is asked for. */
const LOCKS = [
  { name: 'runtime', constraints: [] },
  { name: 'dev', constraints: ['--constraints', 'runtime.lock'] },
  { name: 'tool-uv', constraints: [] },
  { name: 'tool-node', constraints: [] },
];

for (const { name, constraints } of LOCKS) {
  const options = ['--universal', '--python-version', '3.12', '--generate-hashes', '--no-annotate'];
  await execa(
    process.env.LOTUS_UV ?? 'uv',
    [
      ...['pip', 'compile', '--quiet', '--custom-compile-command', 'npm run lock', ...options],
      ...[...constraints, `${name}.in`, '--output-file', `${name}.lock`],
      ...process.argv.slice(2),
    ],
    { cwd: REQUIREMENTS, stderr: 'inherit' },
  );
  console.log(`${name}.lock`);
}
