import type { Evidence, Result } from './evidence.ts';

/** A result that the platform has got more than once, and why. */
export interface Repeat {
  readonly job: string;
  readonly t: number;
  /** Null: nothing explains it. */
  readonly why: string | null;
}

/** Every result but the first of each job. */
export function explainRepeats(evidence: Evidence): Repeat[] {
  const { results } = evidence;
  return results.flatMap((result, at) => {
    const before = results.slice(0, at).filter(({ job }) => job === result.job);
    if (before.length === 0) return [];
    const { job, t } = result;
    return [{ job, t, why: explain(result, before, evidence) }];
  });
}

/** A lost acknowledgement explains one repeat; so does a death that came before the result was forgotten. */
function explain(result: Result, before: readonly Result[], evidence: Evidence): string | null {
  const last = before.at(-1);
  if (!last) return null;
  if (!last.acknowledged) return 'its acknowledgement was lost';
  const life = evidence.lives.find(
    ({ startedAt, endedAt }) => startedAt <= last.t && last.t <= (endedAt ?? result.t),
  );
  const isForgotten = evidence.lines.some(
    ({ msg, job, life: number }) =>
      msg === 'delivered' && job === result.job && number === life?.number,
  );
  if (life?.end === 'killed' && !isForgotten) {
    return 'the process was killed before it could forget it';
  }
  const handedOut = evidence.handOuts.filter(({ id, t }) => id === result.job && t <= last.t);
  if (handedOut.length > before.length)
    return 'it was with two workers, of which one was thought gone';
  return null;
}
