import type { StandInPlatform } from '../../test/runpod/platform.ts';
import { resultsOf } from '../evidence.ts';
import { serveImages } from '../image-server.ts';
import { drawImages, type Making, makeJob, type TestJob } from '../jobs.ts';
import { type Footprint, footprintOf, pythonsOf } from '../processes.ts';
import { Random } from '../random.ts';
import { savedJobs } from '../saved.ts';
import { START_MS, setUp } from '../set-up.ts';
import { waitFor } from '../stage.ts';
import type { ChaosWorker } from '../worker.ts';
import { filesIn, type Workspace } from '../workspace.ts';

export interface SoakOptions {
  readonly seed: number;
  readonly jobs: number;
  /** A look at the worker after so many jobs, when it has nothing to do. */
  readonly every: number;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

/** The worker at rest, after so many jobs. */
export interface Sample {
  readonly jobs: number;
  readonly seconds: number;
  readonly node: Footprint;
  readonly python: Footprint;
  readonly scratch: number;
  /** Results that are kept, and not only that the worker lives. */
  readonly spool: number;
  readonly outputs: number;
  /** How many files the answers so far have named. */
  readonly outputsWanted: number;
}

export interface Soaked {
  readonly samples: readonly Sample[];
  /** Jobs that were not answered as they should be. */
  readonly wrong: readonly string[];
  /** Files that its end has left in the scratch folder and the spool. */
  readonly left: readonly string[];
}

/** With a large one now and then: what is allocated for it is to be given back. */
const SIZES = [48, 160, 320, 640, 1600];
const WRONG_PERCENT = 10;
const JOB_MS = 10_000;
const END_MS = 60_000;
/** A record is removed after its result was delivered. */
const REST_MS = 5_000;

/** Have one worker do thousands of jobs, and look at what it holds on to. */
export async function runSoak(options: SoakOptions): Promise<Soaked> {
  await using stack = new AsyncDisposableStack();
  const { seed, jobs, every, signal, say } = options;
  const images = await drawImages(SIZES);
  const server = await serveImages(images);
  stack.defer(() => server.close());
  const { workspace, platform, worker } = await setUp(stack, { holdMs: 5_000 });
  worker.start('worker1');
  if (!(await waitFor(() => worker.isUp, START_MS, signal))) throw new Error('it did not start');
  const random = new Random(seed);
  const making = { random, images, urlOf: server.urlOf, wrongPercent: WRONG_PERCENT };
  const samples: Sample[] = [];
  const wrong: string[] = [];
  let outputsWanted = 0;
  for (let done = 0; done < jobs; ) {
    const batch = nextJobs(done, Math.min(every, jobs - done), making);
    wrong.push(...(await work(batch, { worker, platform, signal })));
    done += batch.length;
    await waitFor(async () => (await savedJobs(workspace.spool)).length === 0, REST_MS, signal);
    outputsWanted += batch.reduce((sum, job) => sum + filesOf(job), 0);
    const sample = await look(worker, workspace, {
      jobs: done,
      seconds: platform.now(),
      outputsWanted,
    });
    samples.push(sample);
    say(lineOf(sample));
  }
  await worker.terminate(END_MS);
  const left = [...(await filesIn(workspace.scratch)), ...(await filesIn(workspace.spool))];
  return { samples, wrong, left };
}

function nextJobs(from: number, count: number, making: Making): TestJob[] {
  return Array.from({ length: count }, (_, n) => makeJob(from + n, making));
}

interface Place {
  worker: ChaosWorker;
  platform: StandInPlatform;
  signal: AbortSignal;
}

/** Has the jobs done, and forgets them. @returns those that were not answered as they should be. */
async function work(
  batch: readonly TestJob[],
  { worker, platform, signal }: Place,
): Promise<string[]> {
  platform.queue(...batch.map(({ id, input }) => ({ id, input })));
  const isDone = () =>
    platform.acceptances.length >= batch.length && worker.running.size + worker.owing.size === 0;
  const isOver = () => isDone() || worker.life.end !== null;
  await waitFor(isOver, batch.length * JOB_MS, signal);
  if (!isDone()) {
    const last = worker.lines.slice(-5).map(({ msg }) => msg);
    throw new Error(`${platform.acceptances.length} of ${batch.length} jobs are done: ${last}`);
  }
  const said = new Map(resultsOf(platform).map((result) => [result.job, result.said]));
  // Ours must not be the memory that grows.
  platform.acceptances.length = 0;
  platform.requests.length = 0;
  platform.accepted.clear();
  worker.lines.length = 0;
  return batch.flatMap(({ id, expects }) => {
    const it = said.get(id);
    const what = it && ('map' in it ? 'map' : it.error);
    return what === expects ? [] : [`${id}: ${what}, and not ${expects}`];
  });
}

/** How many files the volume gets for it. */
function filesOf({ expects, input }: TestJob): number {
  if (expects !== 'map') return 0;
  const { output_formats = [] } = input as { output_formats?: readonly string[] };
  return new Set(['png', ...output_formats]).size; // which is always made
}

async function look(
  worker: ChaosWorker,
  { outputs, spool, scratch }: Workspace,
  facts: Pick<Sample, 'jobs' | 'seconds' | 'outputsWanted'>,
): Promise<Sample> {
  const { pid } = worker.life;
  const [python] = await pythonsOf(pid);
  const [node, its] = [await footprintOf(pid), python ? await footprintOf(python) : null];
  if (!node || !its) throw new Error(`after ${facts.jobs} jobs a process is gone`);
  const spooled = await filesIn(spool);
  const owed = await savedJobs(spool);
  return {
    ...facts,
    node,
    python: its,
    scratch: (await filesIn(scratch)).length,
    spool: owed.length,
    outputs: (await filesIn(outputs)).length - spooled.length,
  };
}

function lineOf({ jobs, seconds, node, python }: Sample): string {
  const of = ({ rss, descriptors, threads }: Footprint) =>
    `${(rss / 1e6).toFixed(0)} MB, ${descriptors} descriptors, ${threads} threads`;
  return `${jobs} jobs in ${seconds.toFixed(0)} s. Node: ${of(node)}. Python: ${of(python)}`;
}
