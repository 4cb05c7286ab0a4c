/**
 * Hundreds of jobs, and faults that strike Python, Node and the platform while they are worked on; then a verdict on
 * what became of them. Linux only, as root or where `pidfd_getfd` and `prlimit` are allowed.
 *
 *     npm run chaos -- [--seed N] [--jobs 400] [--minutes 6] [--output FILE]
 *
 * A table on standard output, the same and more as JSON in the file; exit code 1 when a promise was broken.
 */
import { randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { runChaos } from './chaos.ts';
import { untilInterrupted } from './interruption.ts';
import { table, toJson } from './report.ts';

/** Beside the faults: two starts, the run without faults, and what is to settle. */
const BESIDE_MS = 15 * 60_000;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    jobs: { type: 'string', default: '400' },
    minutes: { type: 'string', default: '6' },
    output: { type: 'string' },
  },
});
const seed = Number(values.seed);
const jobs = Number(values.jobs);
const ms = Number(values.minutes) * 60_000;
const since = performance.now();

console.log(`npm run chaos -- --seed ${seed} --jobs ${jobs} --minutes ${values.minutes}`);
await untilInterrupted(async (interrupted) => {
  const { evidence, verdict } = await runChaos({
    seed,
    jobs,
    ms,
    signal: AbortSignal.any([interrupted, AbortSignal.timeout(ms + BESIDE_MS)]),
    say: (line) => console.error(line),
  });
  const seconds = Math.round((performance.now() - since) / 1000);
  const facts = { seed, minutes: ms / 60_000, seconds, date: new Date().toISOString() };
  console.log(`\n${table(verdict, evidence)}`);
  const json = toJson(verdict, evidence, facts);
  if (values.output === undefined) console.log(`\n${json}`);
  else await writeFile(values.output, `${json}\n`);
  console.log(verdict.held ? '\nall promises were held' : '\na promise was BROKEN');
  process.exitCode = verdict.held ? 0 : 1;
});
