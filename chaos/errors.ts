import type { Evidence } from './evidence.ts';
import type { Line } from './log.ts';
import type { Strike } from './stage.ts';

/** An error that a caller got for a job that is good. */
export interface CallerError {
  readonly job: string;
  readonly code: string;
  /** Null: nothing explains it. */
  readonly why: string | null;
}

/** For so long after a process got its memory back an allocation of before may still be what failed. */
const AFTER_STARVING_S = 2;

/** The errors that callers got where an undisturbed worker has answered with a map. */
export function explainErrors(evidence: Evidence): CallerError[] {
  const good = new Set(
    evidence.jobs.filter(({ expects }) => expects === 'map').map(({ id }) => id),
  );
  return evidence.results.flatMap(({ job, said }) =>
    good.has(job) && 'error' in said
      ? [{ job, code: said.error, why: explain(job, said.error, evidence) }]
      : [],
  );
}

function explain(job: string, code: string, evidence: Evidence): string | null {
  const failed = evidence.lines.findLast((line) => line.job === job && line.code === code);
  if (!failed) return null;
  const hits = hitsDuring(failed, evidence);
  switch (code) {
    case 'out_of_memory':
      return hits.some(({ fault }) => fault.what === 'starve') ? 'Python got no memory' : null;
    // It was tried again, as is promised, and that process was struck too.
    case 'worker_crashed':
      return hits.length >= 2 ? `Python was struck ${hits.length} times meanwhile` : null;
    case 'poison_job':
      if (hits.length >= 2) return `Python was struck ${hits.length} times meanwhile`;
      return wasRefusedFor(failed, evidence) ? 'Python was struck twice with its image' : null;
    default:
      return null;
  }
}

/** What has struck Python from when a job was taken until it failed. */
function hitsDuring(failed: Line, { lines, strikes }: Evidence): Strike[] {
  const taken = lines.findLast(
    ({ msg, job, life, t }) =>
      msg === 'taken' && job === failed.job && life === failed.life && t <= failed.t,
  );
  return strikes.filter(
    ({ fault, pid, t, until }) =>
      fault.on === 'python' &&
      pid !== undefined &&
      t <= failed.t &&
      until + AFTER_STARVING_S >= (taken?.t ?? failed.t),
  );
}

/** Whether the same worker has found a job of the same looks to be poison, because that was struck twice. */
function wasRefusedFor(failed: Line, evidence: Evidence): boolean {
  const looks = new Map(evidence.jobs.map((job) => [job.id, job.looks]));
  const its = looks.get(failed.job ?? '');
  return evidence.lines.some(
    (line) =>
      line.code === 'poison_job' &&
      line.life === failed.life &&
      its !== undefined &&
      looks.get(line.job ?? '') === its &&
      hitsDuring(line, evidence).length >= 2,
  );
}
