import type { Evidence } from './evidence.ts';

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
  const { lines, strikes } = evidence;
  const failed = lines.findLast((line) => line.job === job && line.code === code);
  if (!failed) return null;
  const taken = lines.findLast(
    ({ msg, job: its, life, t }) =>
      msg === 'taken' && its === job && life === failed.life && t <= failed.t,
  );
  const during = strikes.filter(
    ({ t, until }) => t <= failed.t && until + AFTER_STARVING_S >= (taken?.t ?? failed.t),
  );
  const hits = during.filter(({ fault, pid }) => fault.on === 'python' && pid !== undefined);
  switch (code) {
    case 'out_of_memory':
      return hits.some(({ fault }) => fault.what === 'starve') ? 'Python got no memory' : null;
    // It was tried again, as is promised, and that process was struck too.
    case 'worker_crashed':
    case 'poison_job':
      return hits.length >= 2 ? `Python was struck ${hits.length} times meanwhile` : null;
    default:
      return null;
  }
}
