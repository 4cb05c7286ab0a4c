/**
 * Thousands of jobs for one worker, and a look now and then at what it holds on to: memory, descriptors, threads and
 * files. Linux only.
 *
 *     npm run soak -- [--jobs 5000] [--every 25] [--seed 1] [--json FILE] [--svg FILE]
 *
 * Exit code 1 when something has grown that should not.
 */
import { writeFile } from 'node:fs/promises';
import os from 'node:os';
import { parseArgs } from 'node:util';
import { untilInterrupted } from '../interruption.ts';
import { promiseTable } from '../report.ts';
import { chartsOf } from './charts.ts';
import { plot } from './plot.ts';
import { runSoak } from './soak.ts';
import { judgeSoak, percent } from './verdict.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '5000' },
    every: { type: 'string', default: '25' },
    json: { type: 'string' },
    svg: { type: 'string' },
  },
});
const [seed, jobs, every] = [values.seed, values.jobs, values.every].map(Number) as [
  number,
  number,
  number,
];
const since = performance.now();

await untilInterrupted(async (signal) => {
  const soaked = await runSoak({
    seed,
    jobs,
    every,
    signal,
    say: (line) => console.error(line),
  });
  const seconds = Math.round((performance.now() - since) / 1000);
  const machine = `${os.cpus().length} cores, ${os.cpus()[0]?.model}`;
  const facts = { date: new Date().toISOString(), machine, seed, jobs, seconds };
  const verdict = judgeSoak(soaked);
  const { node, python } = verdict.growth;
  console.log(promiseTable(verdict.promises));
  console.log(
    `\nmemory, from job 500 to the end: Node ${percent(node)}, Python ${percent(python)}`,
  );
  const json = JSON.stringify({ ...facts, ...verdict, ...soaked }, null, 2);
  if (values.json !== undefined) await writeFile(values.json, `${json}\n`);
  const title = `${jobs} jobs, ${facts.date.slice(0, 10)}`;
  if (values.svg !== undefined) await writeFile(values.svg, plot(chartsOf(soaked.samples, title)));
  process.exitCode = verdict.held ? 0 : 1;
});
