/**
 * `./bootstrap test`: every check and every test of both languages, on the real venv. All of them run, also
 * when one fails; the last line counts them.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { readConfig } from '../src/config.ts';
import { provision } from '../src/provision/provision.ts';
import { FOR_THE_MODEL } from '../src/provision/steps.ts';

interface Count {
  passed: number;
  failed: number;
}

const ROOT = path.join(import.meta.dirname, '..');
const config = readConfig({ ...process.env, LOTUS_SAMPLE: '1' });
const { made } = await provision({
  config,
  env: process.env,
  profile: 'dev',
  steps: FOR_THE_MODEL,
  observer: { said: (name, line) => console.error(`${name}: ${line}`) },
});
const { python } = made;
const venv = path.dirname(python);
const reports = await mkdtemp(path.join(os.tmpdir(), 'lotus-worker-test-'));

/** Run a tool, its output in ours; whether it was content. */
async function tool(title: string, file: string, ...args: string[]): Promise<boolean> {
  console.log(`\n== ${title}`);
  const { failed } = await execa(file, args, {
    cwd: ROOT,
    preferLocal: true,
    reject: false,
    stdin: 'ignore',
    stdout: 'inherit',
    stderr: 'inherit',
    env: {
      PYTHONPATH: path.join(ROOT, 'python'),
      // The tools' first lines ask for `node`, which on the PATH may be an older one.
      PATH: `${path.dirname(process.execPath)}${path.delimiter}${process.env.PATH}`,
    },
  });
  return !failed;
}

async function check(title: string, file: string, ...args: string[]): Promise<Count> {
  return (await tool(title, file, ...args)) ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

async function vitest(): Promise<Count> {
  const report = path.join(reports, 'vitest.json');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const fine = await tool('vitest', 'vitest', 'run', ...reporters);
  const found = await readFile(report, 'utf8').catch(() => '{}'); // it broke down before it wrote one
  const { numPassedTests = 0, numFailedTests = 0 } = JSON.parse(found);
  // A file that cannot be read at all is no failed test, and still a failure.
  const failed = numFailedTests || (fine ? 0 : 1);
  return { passed: numPassedTests, failed };
}

async function pytest(): Promise<Count> {
  const report = path.join(reports, 'pytest.xml');
  const fine = await tool('pytest', python, '-m', 'pytest', 'python', '-q', `--junitxml=${report}`);
  const xml = await readFile(report, 'utf8').catch(() => '');
  const count = (name: string) =>
    Number(new RegExp(`<testsuite [^>]*\\b${name}="(\\d+)"`).exec(xml)?.[1] ?? 0);
  const failed = count('failures') + count('errors');
  return {
    passed: count('tests') - failed - count('skipped'),
    failed: failed || (fine ? 0 : 1),
  };
}

const ruff = path.join(venv, 'ruff');
const ruffConfig = [
  '--config',
  'python/pyproject.toml',
  'python',
  'sample',
  'test/parity',
  'bench',
  'chaos',
  'test/fixtures',
];
const counts = [
  await check('biome', 'biome', 'check', '.'),
  await check('types', 'tsc'),
  await check('build', 'tsc', '-p', 'tsconfig.build.json', '--noEmit'),
  await check('ruff check', ruff, 'check', '--no-cache', ...ruffConfig),
  await check('ruff format', ruff, 'format', '--check', '--no-cache', ...ruffConfig),
  await check('hadolint', path.join(venv, 'hadolint'), 'Dockerfile'),
  await check('shellcheck', path.join(venv, 'shellcheck'), 'bootstrap', 'docker/entrypoint'),
  await check('types of the Python side', 'pyright', '-p', 'python', '--pythonpath', python),
  await vitest(),
  await pytest(),
];
await rm(reports, { recursive: true, force: true });

const passed = counts.reduce((sum, count) => sum + count.passed, 0);
const failed = counts.reduce((sum, count) => sum + count.failed, 0);
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
