import type { Evidence } from './evidence.ts';
import type { Footprint } from './processes.ts';
import { describe } from './schedule.ts';
import type { Judged, Verdict } from './verdict.ts';

/** No more of them are printed; the JSON has all. */
const SHOWN = 8;

/** The verdict for people. */
export function table(verdict: Verdict, { footprints }: Evidence): string {
  const facts = Object.entries(verdict.counts).map(([name, value]) => `| ${name} | ${value} |`);
  return [
    promiseTable(verdict.promises),
    '',
    '| what | how much |',
    '|---|---|',
    ...facts,
    `| memory of Node in the end | ${megabytes(footprints.node)} |`,
    `| memory of Python in the end | ${megabytes(footprints.python)} |`,
    '',
    ...grouped(
      'repeats',
      verdict.repeats.map(({ why }) => why ?? 'not explained'),
    ),
    ...grouped(
      'errors of good jobs',
      verdict.errors.map(({ code, why }) => `${code}: ${why ?? 'not explained'}`),
    ),
  ].join('\n');
}

export function promiseTable(promises: readonly Judged[]): string {
  const lines = promises.flatMap(({ promise, broken }) => [
    `| ${broken.length === 0 ? 'held' : '**BROKEN**'} | ${promise} |`,
    ...broken.slice(0, SHOWN).map((what) => `| | ${what} |`),
    ...(broken.length > SHOWN ? [`| | and ${broken.length - SHOWN} more |`] : []),
  ]);
  return ['| verdict | promise |', '|---|---|', ...lines].join('\n');
}

/** The verdict for programs, with every fault and every repeat. */
export function toJson(verdict: Verdict, evidence: Evidence, facts: object): string {
  const { strikes, lives, leftovers, footprints } = evidence;
  const faults = strikes.map(({ fault, ...rest }) => ({ fault: describe(fault), ...rest }));
  return JSON.stringify({ ...facts, ...verdict, faults, lives, leftovers, footprints }, null, 2);
}

function grouped(title: string, whys: readonly string[]): string[] {
  if (whys.length === 0) return [`${title}: none`];
  const counted = Map.groupBy(whys, (why) => why);
  return [
    `${title}: ${whys.length}`,
    ...[...counted].map(([why, all]) => `- ${all.length} times: ${why}`),
  ];
}

function megabytes(footprint: Footprint | null): string {
  return footprint === null ? 'not known' : `${(footprint.rss / 1e6).toFixed(0)} MB`;
}
