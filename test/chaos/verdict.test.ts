import { describe, expect, it } from 'vitest';
import type { Evidence, Result } from '../../chaos/evidence.ts';
import type { Line } from '../../chaos/log.ts';
import type { Strike } from '../../chaos/stage.ts';
import { judge } from '../../chaos/verdict.ts';
import type { Life } from '../../chaos/worker.ts';

const MAP = { map: '64x64 0 1 0123456789abcdef' };
const NONE = { spool: [], scratch: [], halfMade: [], processes: [] };

const result = (job: string, t = 2, more: Partial<Result> = {}): Result => ({
  job,
  t,
  acknowledged: true,
  said: MAP,
  ...more,
});
const line = (msg: string, job: string, t: number, more: Partial<Line> = {}): Line => ({
  t,
  life: 0,
  level: 30,
  msg,
  job,
  ...more,
});
const life = (more: Partial<Life> = {}): Life => ({
  number: 0,
  workerId: 'worker1',
  pid: 1,
  startedAt: 0,
  served: true,
  end: 'terminated',
  endedAt: 10,
  exit: 0,
  saved: [],
  ...more,
});
const python = (what: 'kill' | 'starve', t: number): Strike => ({
  fault: { on: 'python', what, moment: 'any' },
  t,
  until: t,
  pid: 1,
});

/** A run in which nothing went wrong: one good job and one that is not. */
const fine = (more: Partial<Evidence> = {}): Evidence => ({
  jobs: [
    { id: 'good', expects: 'map' },
    { id: 'bad', expects: 'no_image' },
  ],
  undisturbed: new Map<string, Result['said']>([
    ['good', MAP],
    ['bad', { error: 'no_image' }],
  ]),
  results: [result('good'), result('bad', 2, { said: { error: 'no_image' } })],
  handOuts: [],
  lives: [life()],
  lines: [line('job', 'good', 1, { outcome: 'completed' })],
  strikes: [],
  leftovers: NONE,
  lastExit: 0,
  footprints: { node: null, python: null },
  ...more,
});

const without = (job: string) => fine().results.filter((one) => one.job !== job);
const failed = (code: string) => [...without('good'), result('good', 2, { said: { error: code } })];
/** It was taken, and failed. */
const story = (code: string) => [
  line('taken', 'good', 0.5),
  line('job', 'good', 1.5, { outcome: 'failed', code }),
];
/** The promises that were broken. */
const broken = (evidence: Evidence) =>
  judge(evidence).promises.flatMap(({ promise, broken: what }) =>
    what.length > 0 ? [promise] : [],
  );

describe('the verdict on a run with faults', () => {
  it('is that all promises were held, when nothing went wrong', () => {
    expect(judge(fine())).toMatchObject({ held: true, repeats: [], errors: [] });
  });

  it.each<[string, RegExp, Partial<Evidence>]>([
    ['a job without an answer', /every job is answered/, { results: without('bad') }],
    [
      'a map that is another',
      /bit for bit/,
      { results: [...without('good'), result('good', 2, { said: { map: 'other' } })] },
    ],
    [
      'a mistake told otherwise',
      /does wrong/,
      { results: [...without('bad'), result('bad', 2, { said: { error: 'internal' } })] },
    ],
    [
      'an error that nothing explains',
      /good job fails/,
      { lines: [], results: failed('internal') },
    ],
    [
      'a result twice for no reason',
      /repeated only/,
      { results: [...fine().results, result('good', 3)] },
    ],
    [
      'one that hangs and is not found',
      /hangs/,
      { strikes: [{ ...python('kill', 1), unmet: 'still there' }] },
    ],
    ['an end that took too long', /hangs/, { lastExit: null }],
    [
      'an end that nobody asked for',
      /ends only/,
      { lives: [life({ end: 'itself', exit: 1 }), life()] },
    ],
    ['a result left in the spool', /left behind/, { leftovers: { ...NONE, spool: ['good.json'] } }],
  ])('finds %s', (_what, promise, more) => {
    expect(broken(fine(more))).toEqual([expect.stringMatching(promise)]);
  });

  it('finds a map that was computed, and of which the caller got an error', () => {
    const evidence = fine({ results: failed('internal') });
    expect(broken(evidence)).toEqual([
      expect.stringMatching(/computed result/),
      expect.stringMatching(/good job fails/),
    ]);
  });

  it('finds a result that was saved by one that died, and computed again by the next of its id', () => {
    const lives = [life({ end: 'killed', saved: ['good'] }), life({ number: 1 })];
    const lines = [0, 1].map((number) =>
      line('job', 'good', 1, { life: number, outcome: 'completed' }),
    );
    expect(broken(fine({ lives, lines }))).toEqual([expect.stringMatching(/not computed again/)]);
    expect(broken(fine({ lives, lines: lines.slice(0, 1) }))).toEqual([]);
    const another = [...lives.slice(0, 1), life({ number: 1, workerId: 'worker2' })];
    expect(broken(fine({ lives: another, lines }))).toEqual([]);
  });

  it('lets a job fail when both processes that had it were killed, and not when one was', () => {
    const lines = story('worker_crashed');
    const results = failed('worker_crashed');
    const twice = [python('kill', 0.8), python('kill', 1.2)];
    expect(broken(fine({ lines, results, strikes: twice }))).toEqual([]);
    expect(broken(fine({ lines, results, strikes: twice.slice(1) }))).toHaveLength(1);
  });

  it('lets a job be refused for another with the same image that was struck twice, in the same life alone', () => {
    const after = (life: number): Partial<Evidence> => ({
      jobs: [
        { id: 'good', expects: 'map', looks: 'a.png 64' },
        { id: 'like it', expects: 'map', looks: 'a.png 64' },
      ],
      lines: [
        ...story('poison_job'),
        line('taken', 'like it', 5, { life }),
        line('job', 'like it', 5, { life, outcome: 'failed', code: 'poison_job' }),
      ],
      results: ['good', 'like it'].map((job) => result(job, 6, { said: { error: 'poison_job' } })),
      strikes: [python('kill', 0.8), python('kill', 1.2)],
    });
    const unexplained = (run: Partial<Evidence>) =>
      judge(fine(run)).errors.flatMap(({ job, why }) => (why === null ? [job] : []));
    expect(unexplained(after(0))).toEqual([]);
    expect(unexplained(after(1))).toEqual(['like it']);
    const unlike = after(0).jobs?.map((job) => ({ ...job, looks: job.id })) ?? [];
    expect(unexplained({ ...after(0), jobs: unlike })).toEqual(['like it']);
  });

  it('lets a job run out of memory when there was none for it', () => {
    const lines = story('out_of_memory');
    const results = failed('out_of_memory');
    expect(broken(fine({ lines, results, strikes: [python('starve', 1)] }))).toEqual([]);
    expect(broken(fine({ lines, results, strikes: [python('kill', 1)] }))).toHaveLength(1);
  });

  it.each<[string, Partial<Evidence>]>([
    [
      'its acknowledgement was lost',
      { results: [result('good', 2, { acknowledged: false }), result('good', 3)] },
    ],
    [
      'the process was killed before it could forget it',
      {
        results: [result('good', 2), result('good', 12)],
        lives: [life({ end: 'killed' }), life({ number: 1, startedAt: 11, endedAt: 20 })],
      },
    ],
    [
      'it was with two workers, of which one was thought gone',
      {
        results: [result('good', 2), result('good', 3)],
        handOuts: [0.5, 1].map((t) => ({ id: 'good', workerId: 'worker1', t })),
      },
    ],
  ])('explains a repeat: %s', (why, more) => {
    const { repeats } = judge(fine(more));
    expect(repeats).toEqual([expect.objectContaining({ job: 'good', why })]);
  });

  it('takes one lost acknowledgement as the reason of one repeat', () => {
    const results = [
      result('good', 2, { acknowledged: false }),
      result('good', 3),
      result('good', 4),
    ];
    expect(judge(fine({ results })).repeats.map(({ why }) => why)).toEqual([
      'its acknowledgement was lost',
      null,
    ]);
  });
});
