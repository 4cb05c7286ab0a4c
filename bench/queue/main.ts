/**
 * Jobs a second and the time from take to done, side by side in one run: this worker, and RunPod's own Python SDK with
 * the plan's handler, on the same model, the same jobs and the same stand-in platform.
 *
 *     npm run bench:queue -- [--jobs 60] [--rounds 3] [--processing-res 256]
 *
 * The sides take turns, so that a machine that gets slower gets slower for all of them. Beside them stands what the
 * model alone can do, one image after the other.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { APP_ROOT, MAIN, SAMPLE_ROOT } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { provision } from '../../src/provision/provision.ts';
import { FOR_THE_MODEL } from '../../src/provision/steps.ts';
import { type Measured, measure, type Side } from './measure.ts';
import { sdkPython } from './sdk.ts';

const SDKS = ['1.12.0', '1.6.1'];
const LATENCIES_MS = [0, 50];
const KEY = 'bench';

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '60' },
    rounds: { type: 'string', default: '3' },
    'processing-res': { type: 'string', default: '256' },
  },
});
const jobs = Number(values.jobs);
const rounds = Number(values.rounds);

const env = { ...process.env, LOTUS_SAMPLE: '1' };
const config = readConfig(env);
const { made } = await provision({ config, env, steps: FOR_THE_MODEL, observer: {} });
const output = await mkdtemp(path.join(os.tmpdir(), 'lotus-bench-'));
const image = await readFile(path.join(SAMPLE_ROOT, 'images', 'street.jpg'));
const input = {
  api_key: KEY,
  image_base64: image.toString('base64'),
  processing_res: Number(values['processing-res']),
};
const plan = path.join(APP_ROOT, 'bench', 'queue', 'plan_worker.py');
const planEnv = {
  PATH: process.env.PATH ?? '',
  HOME: os.homedir(),
  LOTUS_API_KEY: KEY,
  MODEL: path.join(SAMPLE_ROOT, 'checkpoint'),
  UPSTREAM: path.join(SAMPLE_ROOT, 'upstream'),
  BENCH_OUTPUT: output,
};

const sides = [ours(), ...(await theirs())];
const limit = await modelLimit();
console.log(
  `${os.cpus().length} cores, ${os.cpus()[0]?.model}; ${jobs} jobs, ${rounds} rounds, medians`,
);
console.log(`the model alone: ${limit.toFixed(1)} maps a second\n`);
console.log('| worker | platform | jobs/s | of the model | median ms | p95 ms |');
console.log('|---|---|---|---|---|---|');
for (const latencyMs of LATENCIES_MS) {
  const measured = new Map<Side, Measured[]>(sides.map((side) => [side, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const side of sides) {
      measured.get(side)?.push(await measure(side, input, { jobs, latencyMs }));
    }
  }
  for (const [side, runs] of measured) console.log(row(side, latencyMs, runs));
}
await rm(output, { recursive: true });

function ours(): Side {
  return {
    name: `lotus-worker, ${config.concurrency} at a time`,
    file: process.execPath,
    args: [MAIN, 'serve'],
    env: { ...definedOf(env), LOTUS_ALLOW_EPHEMERAL: '1', LOTUS_API_KEY: KEY },
  };
}

async function theirs(): Promise<Side[]> {
  const found: Side[] = [];
  for (const version of SDKS) {
    const python = await sdkPython(config.uv ?? 'uv', made.python, version);
    const side = { name: `runpod ${version}`, file: python, args: [plan], env: planEnv };
    const concurrency = String(config.concurrency);
    found.push(side, {
      ...side,
      name: `${side.name}, ${concurrency} at a time`,
      env: { ...planEnv, BENCH_CONCURRENCY: concurrency },
    });
  }
  return found;
}

async function modelLimit(): Promise<number> {
  const { stdout } = await execa(made.python, [plan, '--limit', String(jobs)], {
    env: planEnv,
    extendEnv: false,
    input: JSON.stringify(input),
  });
  return JSON.parse(stdout).maps_per_second;
}

function row({ name }: Side, latencyMs: number, runs: readonly Measured[]): string {
  const jobsPerSecond = median(runs.map((run) => run.jobsPerSecond));
  const cells = [
    name,
    `${latencyMs} ms`,
    jobsPerSecond.toFixed(2),
    `${Math.round((100 * jobsPerSecond) / limit)}%`,
    median(runs.map((run) => run.medianMs)).toFixed(0),
    median(runs.map((run) => run.p95Ms)).toFixed(0),
  ];
  return `| ${cells.join(' | ')} |`;
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

function definedOf(all: Record<string, string | undefined>): Record<string, string> {
  const entries = Object.entries(all).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return Object.fromEntries(entries);
}
