import { setTimeout as sleep } from 'node:timers/promises';
import { type Evidence, type Leftovers, resultsOf } from './evidence.ts';
import { serveImages } from './image-server.ts';
import { drawImages, makeJobs, type TestJob } from './jobs.ts';
import { PlatformScript } from './platform-script.ts';
import { footprintOf, processesOf } from './processes.ts';
import { Random } from './random.ts';
import { savedJobs } from './saved.ts';
import { describe, schedule } from './schedule.ts';
import { START_MS, setUp } from './set-up.ts';
import { type Stage, type Strike, waitFor } from './stage.ts';
import { strike } from './strike.ts';
import { runUndisturbed } from './undisturbed.ts';
import { judge, type Verdict } from './verdict.ts';
import type { ChaosWorker } from './worker.ts';
import { filesIn, type Workspace } from './workspace.ts';

export interface ChaosOptions {
  readonly seed: number;
  readonly jobs: number;
  /** How long faults strike. */
  readonly ms: number;
  /** So many strike all the same where the machine is slow. */
  readonly leastFaults?: number;
  /** Aborts to end at once, and clean up. */
  readonly signal: AbortSignal;
  /** Gets a line now and then. */
  readonly say: (line: string) => void;
}

/** Of a hundred jobs. */
const WRONG_PERCENT = 10;

/** A worker pings so often, and a job that no ping names for so long is handed out again. */
const PING_MS = 500;
const HEARTBEAT_MS = 5_000;

/**
 * All faults are over. Results are offered again after half a minute at the latest, and a worker of another id that has
 * died counts as gone after a minute, when others look for such every half minute.
 */
const SETTLE_MS = 240_000;

/** How long the worker has to end in the end. */
const END_MS = 60_000;

/** Have faults strike a worker that has jobs to do, and judge what became of them. */
export async function runChaos(
  options: ChaosOptions,
): Promise<{ evidence: Evidence; verdict: Verdict }> {
  await using stack = new AsyncDisposableStack();
  const { signal, say } = options;
  const jobs = await drawJobs(options, stack);
  say(`${jobs.length} jobs, first without faults`);
  const undisturbed = await runUndisturbed(jobs, signal);
  const stage = await setStage(options, stack);
  const { worker, platform, workspace } = stage;
  worker.start('worker1');
  const strikes = await strikeWhile(stage, jobs, options);
  await settle(stage, jobs, say);
  const footprints = await footprintsOf(worker);
  const isInTime = await worker.terminate(END_MS);
  const evidence: Evidence = {
    jobs,
    undisturbed,
    results: resultsOf(platform),
    handOuts: platform.handOuts,
    lives: worker.lives,
    lines: worker.lines,
    strikes,
    leftovers: await leftoversIn(workspace),
    lastExit: isInTime ? worker.life.exit : null,
    footprints,
  };
  return { evidence, verdict: judge(evidence) };
}

/** The jobs, with the images that some of them name to be fetched. */
async function drawJobs(
  { seed, jobs }: ChaosOptions,
  stack: AsyncDisposableStack,
): Promise<TestJob[]> {
  const images = await drawImages();
  const server = await serveImages(images);
  stack.defer(() => server.close());
  const { urlOf } = server;
  return makeJobs(jobs, { random: new Random(seed), images, urlOf, wrongPercent: WRONG_PERCENT });
}

async function setStage(
  { seed, signal }: ChaosOptions,
  stack: AsyncDisposableStack,
): Promise<Stage> {
  const script = new PlatformScript(new Random(seed + 1));
  const options = {
    holdMs: 2_000,
    slowMs: 1_500,
    heartbeatMs: HEARTBEAT_MS,
    faultFor: (kind: string) => script.faultFor(kind),
  };
  const made = await setUp(stack, options, PING_MS);
  return { ...made, script, signal, random: new Random(seed + 2) };
}

/** Queues the jobs, evenly, and has one fault after the other strike until the time is over. */
async function strikeWhile(
  stage: Stage,
  jobs: readonly TestJob[],
  { ms, leastFaults = 0, seed, say }: ChaosOptions,
): Promise<Strike[]> {
  const { platform, worker, signal } = stage;
  await waitFor(() => worker.isUp, START_MS, signal);
  const since = performance.now();
  const passed = () => performance.now() - since;
  let queued = 0;
  const queueUntil = (share: number) => {
    const due = Math.min(jobs.length, Math.ceil(jobs.length * share));
    platform.queue(...jobs.slice(queued, due).map(({ id, input }) => ({ id, input })));
    queued = Math.max(queued, due);
  };
  const feed = setInterval(() => queueUntil(passed() / ms), 100);
  const tell = setInterval(() => say(progressOf(stage, jobs.length)), 5_000);
  const strikes: Strike[] = [];
  try {
    for (const { afterMs, fault } of schedule(new Random(seed + 3))) {
      await sleep(afterMs, undefined, { signal });
      if (passed() >= ms && strikes.length >= leastFaults) break;
      const struck = await strike(fault, stage);
      strikes.push(struck);
      say(lineOf(struck));
    }
  } finally {
    clearInterval(feed);
    clearInterval(tell);
  }
  queueUntil(1);
  return strikes;
}

/** Waits until all is answered and nothing is owed, by former workers either; the verdict says what is not. */
async function settle(
  { worker, platform, workspace, signal }: Stage,
  jobs: readonly TestJob[],
  say: (line: string) => void,
): Promise<void> {
  say('no more faults; waiting for what is not answered yet');
  const isAnswered = () => jobs.every(({ id }) => platform.results(id).length > 0);
  const isAtRest = () => worker.isUp && worker.running.size === 0 && worker.owing.size === 0;
  const isSettled = async () =>
    isAnswered() && isAtRest() && (await savedJobs(workspace.spool)).length === 0;
  await waitFor(isSettled, SETTLE_MS, signal);
}

function progressOf({ platform, worker }: Stage, jobs: number): string {
  const answered = new Set(platform.acceptances.map(({ jobId }) => jobId)).size;
  const { running, owing } = worker;
  return `${answered} of ${jobs} answered, ${platform.queued} queued, ${running.size} running, ${owing.size} owing`;
}

function lineOf({ fault, t, until, missed, unmet }: Strike): string {
  const more = missed ? `: missed, ${missed}` : unmet ? `: ${unmet}` : '';
  return `${t.toFixed(1)} s  ${describe(fault)} (${(until - t).toFixed(1)} s)${more}`;
}

async function footprintsOf(worker: ChaosWorker): Promise<Evidence['footprints']> {
  const python = await worker.python();
  return {
    node: await footprintOf(worker.life.pid),
    python: python === null ? null : await footprintOf(python),
  };
}

async function leftoversIn({ dir, outputs, spool, scratch }: Workspace): Promise<Leftovers> {
  const processes = await processesOf(dir);
  return {
    spool: await filesIn(spool),
    scratch: await filesIn(scratch),
    halfMade: (await filesIn(outputs)).filter((name) => name.endsWith('.partial')),
    processes: processes.map(({ pid, command }) => `${pid} ${command}`),
  };
}
