import type { Judged } from '../verdict.ts';
import type { Sample, Soaked } from './soak.ts';

/** From here on memory must not grow: caches are warm, every size was there. */
export const WARM_JOBS = 500;

/** Of the memory after `WARM_JOBS`. */
export const MAX_GROWTH = 0.05;

/** One measurement is a tenth of the samples, and no fewer: a garbage collection may be due in any one. */
const SAMPLES = 5;

export interface SoakVerdict {
  readonly held: boolean;
  readonly promises: readonly Judged[];
  readonly growth: { readonly node: number; readonly python: number };
}

/**
 * Judge a soak.
 *
 * @throws RangeError when it was too short for that.
 */
export function judgeSoak({ samples, wrong, left }: Soaked): SoakVerdict {
  const warm = samples.filter(({ jobs }) => jobs >= WARM_JOBS);
  if (warm.length < 2 * SAMPLES) {
    throw new RangeError(
      `${warm.length} samples after job ${WARM_JOBS}, and ${2 * SAMPLES} are needed`,
    );
  }
  const samplesEach = Math.max(SAMPLES, Math.round(warm.length / 10));
  const first = warm.slice(0, samplesEach);
  const last = warm.slice(-samplesEach);
  const growth = {
    node: grown(first, last, ({ node }) => node.rss),
    python: grown(first, last, ({ python }) => python.rss),
  };
  const promises: Judged[] = [
    { promise: 'every job is answered as it should be', broken: wrong },
    { promise: 'the memory of Node does not grow', broken: tooMuch(growth.node) },
    { promise: 'the memory of Python does not grow', broken: tooMuch(growth.python) },
    {
      promise: 'no descriptor and no thread is left open',
      broken: [...leaks('Node', 'node', warm), ...leaks('Python', 'python', warm)],
    },
    {
      promise: 'no file is left between jobs, but those that the answers name',
      broken: samples.flatMap(strayFiles),
    },
    { promise: 'nothing is left in the scratch folder and the spool in the end', broken: left },
  ];
  return { held: promises.every(({ broken }) => broken.length === 0), promises, growth };
}

function grown(
  first: readonly Sample[],
  last: readonly Sample[],
  of: (sample: Sample) => number,
): number {
  const before = median(first.map(of));
  return (median(last.map(of)) - before) / before;
}

function tooMuch(growth: number): string[] {
  if (growth < MAX_GROWTH) return [];
  return [`it has grown by ${percent(growth)} since job ${WARM_JOBS}`];
}

/** More than in the first half there may be: connections come and go, and so do the threads that libvips keeps. */
const SLACK = { descriptors: 3, threads: 8 };

/** More at the end than ever in the first half. */
function leaks(name: string, of: 'node' | 'python', warm: readonly Sample[]): string[] {
  const half = warm.slice(0, Math.ceil(warm.length / 2));
  return (['descriptors', 'threads'] as const).flatMap((what) => {
    const number = (sample: Sample) => sample[of][what] ?? 0;
    const most = Math.max(...half.map(number)) + SLACK[what];
    const least = Math.min(...warm.slice(-SAMPLES).map(number));
    return least > most ? [`${name} has ${least} ${what}, and may have ${most}`] : [];
  });
}

function strayFiles({ jobs, scratch, spool, outputs, outputsWanted }: Sample): string[] {
  const strays = outputs - outputsWanted;
  if (scratch === 0 && spool === 0 && strays === 0) return [];
  return [
    `after ${jobs} jobs: ${scratch} in scratch, ${spool} in the spool, ${strays} too many outputs`,
  ];
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`;
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;
}
