import { type CallerError, explainErrors } from './errors.ts';
import type { Evidence } from './evidence.ts';
import { explainRepeats, type Repeat } from './repeats.ts';

/** One promise, and where it was broken. */
export interface Judged {
  readonly promise: string;
  readonly broken: readonly string[];
}

export interface Verdict {
  readonly held: boolean;
  readonly promises: readonly Judged[];
  readonly repeats: readonly Repeat[];
  readonly errors: readonly CallerError[];
  readonly counts: Readonly<Record<string, number>>;
}

/** Judge a run by what was seen of it. */
export function judge(evidence: Evidence): Verdict {
  const repeats = explainRepeats(evidence);
  const errors = explainErrors(evidence);
  const promises = [
    promise('every job is answered', unanswered(evidence)),
    promise('no computed result is lost', lost(evidence)),
    promise(
      'a result that was saved is delivered by its worker, and not computed again',
      computedAgain(evidence),
    ),
    promise('every map is bit for bit that of an undisturbed run', otherMaps(evidence)),
    promise('what a caller does wrong is told as ever', otherErrors(evidence)),
    promise(
      'a good job fails only of what a single retry cannot mend',
      errors.filter(({ why }) => why === null).map(({ job, code }) => `${job}: ${code}`),
    ),
    promise(
      'a result is repeated only where its acknowledgement was lost, or the process died with it',
      repeats.filter(({ why }) => why === null).map(({ job, t }) => `${job} at ${t.toFixed(1)} s`),
    ),
    promise(
      'what hangs, babbles or is told to end is gone in time, and comes back',
      unmet(evidence),
    ),
    promise('the worker ends only when it is told to', endedByItself(evidence)),
    promise('nothing is left behind', leftovers(evidence)),
  ];
  const held = promises.every(({ broken }) => broken.length === 0);
  return { held, promises, repeats, errors, counts: count(evidence, repeats) };
}

function promise(text: string, broken: readonly string[]): Judged {
  return { promise: text, broken };
}

function unanswered({ jobs, results }: Evidence): string[] {
  const answered = new Set(results.map(({ job }) => job));
  return jobs.filter(({ id }) => !answered.has(id)).map(({ id }) => id);
}

/** A worker's log says that it was computed, and the platform has never got a map for it. */
function lost({ lines, results }: Evidence): string[] {
  const computed = new Set(
    lines.flatMap(({ job, outcome }) =>
      outcome === 'completed' && job !== undefined ? [job] : [],
    ),
  );
  const arrived = new Set(results.filter(({ said }) => 'map' in said).map(({ job }) => job));
  return [...computed].filter((job) => !arrived.has(job));
}

/**
 * It lay in the spool when its worker died, and the one after it has run the job. One of another id may: it cannot know
 * yet that the first is gone for good.
 */
function computedAgain({ lives, lines }: Evidence): string[] {
  return lives.flatMap(({ number, workerId, saved }) => {
    const later = lives.slice(number + 1).filter((life) => life.workerId === workerId);
    const heirs = new Set(later.map((life) => life.number));
    const again = lines.filter(
      ({ job, life, outcome }) =>
        outcome === 'completed' && heirs.has(life) && job !== undefined && saved.includes(job),
    );
    return again.map(({ job, life, t }) => `${job}, by life ${life} at ${t.toFixed(1)} s`);
  });
}

function otherMaps({ results, undisturbed }: Evidence): string[] {
  return results.flatMap(({ job, said }) => {
    const wanted = undisturbed.get(job);
    if (!('map' in said) || (wanted && 'map' in wanted && wanted.map === said.map)) return [];
    const what = wanted && 'map' in wanted ? wanted.map : (wanted?.error ?? 'nothing');
    return [`${job}: ${said.map}, and not ${what}`];
  });
}

function otherErrors({ jobs, results }: Evidence): string[] {
  const wrong = new Map(
    jobs.filter(({ expects }) => expects !== 'map').map(({ id, expects }) => [id, expects]),
  );
  return results.flatMap(({ job, said }) => {
    const wanted = wrong.get(job);
    if (wanted === undefined || ('error' in said && said.error === wanted)) return [];
    return [`${job}: ${'error' in said ? said.error : 'a map'}, and not ${wanted}`];
  });
}

function unmet({ strikes, lastExit }: Evidence): string[] {
  const found = strikes.flatMap(({ unmet: what, t }) =>
    what ? [`${t.toFixed(1)} s: ${what}`] : [],
  );
  return lastExit === 0 ? found : [...found, `ended with ${lastExit ?? 'nothing'} in the end`];
}

function endedByItself({ lives }: Evidence): string[] {
  return lives
    .filter(({ end, exit }) => end === 'itself' || (end === 'terminated' && exit !== 0))
    .map(({ number, exit, endedAt }) => `life ${number} at ${endedAt?.toFixed(1)} s, with ${exit}`);
}

function leftovers({ leftovers: left }: Evidence): string[] {
  return Object.entries(left).flatMap(([kind, names]) =>
    (names as readonly string[]).map((name) => `${kind}: ${name}`),
  );
}

function count(evidence: Evidence, repeats: readonly Repeat[]): Record<string, number> {
  const { jobs, results, handOuts, lives, lines, strikes } = evidence;
  const said = (text: string) => lines.filter(({ msg }) => msg === text).length;
  const completed = lines.flatMap(({ outcome, job }) => (outcome === 'completed' ? [job] : []));
  return {
    jobs: jobs.length,
    'results accepted': results.length,
    repeats: repeats.length,
    'jobs handed out again': handOuts.length - new Set(handOuts.map(({ id }) => id)).size,
    'maps computed': completed.length,
    'maps computed again': completed.length - new Set(completed).size,
    'results in the spool of a worker that died': lives.reduce(
      (sum, { saved }) => sum + saved.length,
      0,
    ),
    'faults struck': strikes.filter(({ missed }) => missed === undefined).length,
    'faults missed': strikes.filter(({ missed }) => missed !== undefined).length,
    'Node processes': lives.length,
    'Python processes': said('the model is ready'),
  };
}
