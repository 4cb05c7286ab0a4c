import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { StandInPlatform } from '../../test/runpod/platform.ts';

/** A worker to be measured. */
export interface Side {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface Measured {
  /** From the moment that the first job was handed out until the last result was accepted. */
  readonly jobsPerSecond: number;
  /** From when a job was handed out until its result was accepted, milliseconds. */
  readonly medianMs: number;
  readonly p95Ms: number;
}

/** Nothing that works takes as long. */
const LIMIT_MS = 300_000;

/**
 * Start a worker, give it one job to get warm, then all jobs at once, and see how long it takes.
 *
 * @param latencyMs how long each answer of the platform takes.
 */
export async function measure(
  side: Side,
  input: object,
  { jobs, latencyMs }: { jobs: number; latencyMs: number },
): Promise<Measured> {
  const platform = await StandInPlatform.start({ latencyMs, holdMs: 5_000 });
  const child = spawn(side.file, side.args, {
    env: { ...side.env, ...platform.env() },
    stdio: ['ignore', 'ignore', process.env.BENCH_VERBOSE ? 'inherit' : 'ignore'],
  });
  try {
    await results(platform, child, side, [`warm-up`], input);
    const ids = Array.from({ length: jobs }, (_, n) => `job-${n}`);
    await results(platform, child, side, ids, input);
    return figures(platform, ids);
  } finally {
    child.kill('SIGKILL');
    await platform.close();
  }
}

async function results(
  platform: StandInPlatform,
  child: ChildProcess,
  { name }: Side,
  ids: readonly string[],
  input: object,
): Promise<void> {
  platform.queue(...ids.map((id) => ({ id, input })));
  const over = new AbortController();
  const failed = once(child, 'exit', { signal: over.signal }).then(([code]) => {
    throw new Error(`${name} has ended with ${code}; BENCH_VERBOSE=1 shows why`);
  });
  const late = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  const arrived = platform.until(() => ids.every((id) => platform.results(id).length > 0));
  await Promise.race([arrived, failed]);
  failed.catch(() => {}); // aborted by us
  over.abort();
  clearTimeout(late);
  const wrong = ids.map((id) => platform.results(id)[0]).find((result) => result?.error);
  if (wrong) throw new Error(`${name} answered ${JSON.stringify(wrong)}`);
}

function figures(platform: StandInPlatform, ids: readonly string[]): Measured {
  const takenAt = new Map<string, number>();
  const doneAt = new Map<string, number>();
  for (const { path, note, t, status } of platform.requests) {
    if (path.includes('/job-take')) for (const id of note.split(',')) takenAt.set(id, t);
    const id = path.split('/').at(-1) ?? '';
    if (path.includes('/job-done/') && status === 200) doneAt.set(id, t);
  }
  const spans = ids.map((id) => (doneAt.get(id) ?? 0) - (takenAt.get(id) ?? 0));
  const first = Math.min(...ids.map((id) => takenAt.get(id) ?? 0));
  const last = Math.max(...ids.map((id) => doneAt.get(id) ?? 0));
  const sorted = spans.toSorted((a, b) => a - b);
  const at = (share: number) => 1000 * (sorted[Math.floor(share * (sorted.length - 1))] ?? 0);
  return { jobsPerSecond: ids.length / (last - first), medianMs: at(0.5), p95Ms: at(0.95) };
}
