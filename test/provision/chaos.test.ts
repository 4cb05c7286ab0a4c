import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { APP_ROOT, SAMPLE_ROOT } from '../../src/app.ts';
import { MACHINE } from '../../src/provision/profile.ts';
import { STEP_NAMES } from '../../src/provision/steps.ts';
import { type Hub, startHub } from '../fixtures/hub.ts';
import {
  copyOfPython,
  type Expected,
  faultsOf,
  interpreter,
  leftovers,
  listing,
  makeWheel,
  repository,
  workersGone,
} from '../fixtures/provision/chaos-workspace.ts';
import type { Call, KillPoint } from '../fixtures/provision/kill-at.ts';
import { makeSmallApp, proveByImport, runSmall, type SmallApp } from './small-app.ts';

/**
 * `bootstrap` is killed at one call after the other by which it changes the workspace, and has to come back from
 * each. The calls are recorded first, so that what is new in the code is killed too: at both sides of every
 * switch, and in the middle of the rest; here at every third of these points. LOTUS_TEST_CHAOS=full takes every call of
 * every kind: run it after a change to what is provisioned.
 */
/** As what a killed run was building aside. */
const HALF_MADE = '.half.01234567-89ab-4def-8123-456789abcdef.partial';

const FULL = process.env.LOTUS_TEST_CHAOS === 'full';
const AT_ONCE = 2;
const KILL_AT = path.join(APP_ROOT, 'test', 'fixtures', 'provision', 'kill-at.ts');
const COMMAND = ['bootstrap', '--no-warmup', '--prefetch', '--json'];

interface Scenario {
  /** What it is killed in. */
  name: string;
  /** The steps whose products are tried right after the kill. All are in the end. */
  steps: readonly string[];
  /** Take away from a workspace that is ready, or add, so that there is something to make. */
  prepare(workspace: string): Promise<unknown>;
  app?(): SmallApp;
  env?(): Record<string, string>;
  proof?: string;
  /** What to begin with. Default: a workspace that is ready. */
  from?: 'nothing' | 'newer release';
}

let dir = '';
let app: SmallApp;
let other: SmallApp;
let hub: Hub;
let settings: Record<string, string> = {};
let wheels = '';
let otherPython = '';
let expected: Expected;
/** A workspace that is ready. */
let whole = '';
/** The lock of a process that was killed. */
let deadLock = '';
/** One in which the other app has all but its venv. */
let newer = '';

beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'chaos-test-'));
  wheels = path.join(dir, 'wheels');
  const flash = await makeWheel(wheels, 'flash_attn', '2.8.3', 'flash_attn_func = print\n');
  const alpha = await makeWheel(wheels, 'alpha', '1.0', 'one = 1\n');
  app = await makeSmallApp(path.join(dir, 'app'));
  other = await makeSmallApp(path.join(dir, 'other'), { lock: alpha.entry, proof: 'import alpha' });
  for (const { root } of [app, other]) await proveByImport(root);
  otherPython = await copyOfPython(path.join(dir, 'python'));
  const { url, commits } = await repository(path.join(dir, 'repository'));
  const commit = commits[0] ?? '';
  const checkpoint = { folder: path.join(SAMPLE_ROOT, 'checkpoint'), revision: 'a'.repeat(40) };
  hub = await startHub({ models: { 'org/model': checkpoint } });
  settings = {
    LOTUS_PYTHON: await interpreter(),
    LOTUS_UPSTREAM_DIR: '',
    LOTUS_UPSTREAM_URL: url,
    LOTUS_UPSTREAM_COMMIT: commit,
    LOTUS_FLASH_ATTN: flash.file,
    MODEL_ID: 'org/model',
    HF_ENDPOINT: hub.url,
    NO_PROXY: '127.0.0.1',
    NODE_COMPILE_CACHE: path.join(dir, 'compiled'), // half of a run is reading TypeScript otherwise
  };
  whole = path.join(dir, 'whole');
  expected = { commit, proof: 'import huggingface_hub, yaml', env: settings };
  await succeed(run({}, whole));
  expected.release = await listing(path.join(whole, 'src/'));
  const dead = path.join(dir, 'dead');
  deadLock = path.join(dead, 'bootstrap.lock');
  const locked: KillPoint = { op: 'rename', path: 'bootstrap.lock', nth: 1, when: 'after' };
  expect((await run({}, dead, { KILL_AT: JSON.stringify(locked) })).signal).toBe('SIGKILL');
  newer = path.join(dir, 'newer');
  await copyWorkspace(whole, newer);
  await succeed(run(CHANGED_LOCK, newer));
  for (const name of ['venv', 'venvs', 'cache']) {
    await rm(path.join(newer, name), { recursive: true });
    await execa('cp', ['-a', path.join(whole, name), newer]);
  }
});
afterAll(async () => {
  await hub?.close();
  await rm(dir, { recursive: true, force: true });
});

const CHANGED_LOCK: Scenario = {
  name: 'a venv for a changed lock, and removes old ones',
  steps: ['venv'],
  async prepare(workspace) {
    // The last one that was used is kept; this was used long ago, and that is of an earlier version.
    for (const name of [`runtime-${MACHINE}-0123456789ab`, 'runtime-0123456789ab']) {
      const old = path.join(workspace, 'venvs', name);
      const packages = path.join(old, 'lib', 'python3.12', 'site-packages');
      await mkdir(path.join(packages, 'beta-1.0.dist-info'), { recursive: true });
      await writeFile(path.join(packages, 'beta.py'), '');
      await utimes(old, 86_400, 86_400);
    }
  },
  from: 'newer release',
  app: () => other,
  // A cache of the workspace's own, which is cleared of what is used no more.
  env: () => ({ UV_CACHE_DIR: '', UV_FIND_LINKS: wheels, UV_NO_INDEX: '1' }),
  proof: 'import alpha',
};

/** In the order in which they are killed: a call that was killed in one is left out in those after it. */
const SCENARIOS: Scenario[] = [
  {
    name: 'upstream, having taken over from a dead one that left things half made',
    steps: ['volume', 'upstream'],
    async prepare(workspace) {
      await remove(workspace, 'upstream');
      await leaveHalfMade(workspace);
      await leaveDeadLock(workspace);
    },
  },
  {
    name: 'the link to the release',
    steps: ['release'],
    prepare: (workspace) => remove(workspace, 'src'),
  },
  {
    name: 'the release, and removes old ones',
    steps: ['release'],
    async prepare(workspace) {
      await remove(workspace, 'releases', 'src');
      for (const day of [1, 2, 3, 4]) {
        const old = path.join(workspace, 'releases', `0.0.${day}-0123456789ab`);
        await mkdir(path.join(old, 'bin'), { recursive: true });
        await writeFile(path.join(old, 'bin', 'node'), '');
        await utimes(old, day * 86_400, day * 86_400);
      }
    },
  },
  CHANGED_LOCK,
  {
    name: 'the venv',
    steps: ['venv'],
    prepare: (workspace) => remove(workspace, 'venvs', 'venv'),
  },
  {
    name: 'the weights',
    steps: ['weights'],
    prepare: (workspace) => remove(workspace, 'models', 'cache/hub'),
  },
  {
    name: 'flash-attn',
    steps: ['flash-attn'],
    prepare: (workspace) => remove(workspace, 'flash-attn'),
  },
  {
    name: "another machine's interpreter",
    steps: ['venv'],
    prepare: async () => {},
    env: () => ({ LOTUS_PYTHON: otherPython }),
  },
  { name: 'everything', steps: STEP_NAMES, prepare: async () => {}, from: 'nothing' },
];

async function remove(workspace: string, ...names: string[]): Promise<void> {
  for (const name of names) await rm(path.join(workspace, name), { recursive: true });
}

async function leaveHalfMade(workspace: string): Promise<void> {
  for (const folder of ['venvs', 'releases', 'flash-attn', 'models', 'leases']) {
    const half = path.join(workspace, folder, HALF_MADE);
    await mkdir(path.join(half, 'deeper'), { recursive: true });
    for (const name of ['one', 'two', 'deeper/three']) await writeFile(path.join(half, name), '');
    await utimes(half, 1, 1); // a lease that is being written is left alone
  }
  await writeFile(path.join(workspace, HALF_MADE), '');
}

async function leaveDeadLock(workspace: string): Promise<void> {
  await cp(deadLock, path.join(workspace, 'bootstrap.lock'), { recursive: true });
}

function run(
  { app: its, env }: Partial<Scenario>,
  workspace: string,
  { args = COMMAND, ...more }: { args?: string[]; KILL_AT?: string; KILL_RECORD?: string } = {},
) {
  const node = Object.keys(more).length > 0 ? ['--import', KILL_AT] : [];
  const all = { ...settings, WORKSPACE: workspace, ...env?.(), ...more };
  return runSmall(its?.() ?? app, args, all, node, { detached: true });
}

async function succeed(running: ReturnType<typeof run>): Promise<void> {
  const { exitCode, stdout, stderr } = await running;
  expect({ exitCode, said: stdout + stderr }).toMatchObject({ exitCode: 0 });
}

let count = 0;
/** A workspace of its own, ready but for what the scenario is about. */
async function workspaceFor({ prepare, from }: Scenario): Promise<string> {
  count += 1;
  const workspace = path.join(dir, `${count}`.padStart(4, '0'), 'Lotus');
  await mkdir(path.dirname(workspace), { recursive: true });
  if (from === 'nothing') return workspace;
  await copyWorkspace(from === 'newer release' ? newer : whole, workspace);
  await prepare(workspace);
  return workspace;
}

/** What is in the larger half is only read or removed: two names for a file do. */
async function copyWorkspace(from: string, to: string): Promise<void> {
  await execa('cp', ['-a', '--link', from, to]);
  for (const name of ['cache', 'models']) {
    await rm(path.join(to, name), { recursive: true });
    await cp(path.join(from, name), path.join(to, name), {
      recursive: true,
      verbatimSymlinks: true,
    });
  }
}

async function record(scenario: Scenario): Promise<Call[]> {
  const workspace = await workspaceFor(scenario);
  const file = path.join(path.dirname(workspace), 'calls');
  await succeed(run(scenario, workspace, { KILL_RECORD: file }));
  const lines = (await readFile(file, 'utf8')).trim().split('\n');
  await rm(path.dirname(workspace), { recursive: true });
  return lines.map((line) => JSON.parse(line));
}

/** Programs that write; the others are asked questions. */
const WRITES = /^(uv (venv|pip|cache|python)|git (init|fetch|checkout)|hf )/;

/** What is there when they are in the middle of it. */
const MIDDLES: readonly [RegExp, string[]][] = [
  [/^uv venv/, ['venvs/.*.partial/pyvenv.cfg']],
  [
    /^uv pip install .*--requirements/,
    [
      'venvs/.*.partial/lib/python3.12/site-packages/*/__init__.py',
      'venvs/.*.partial/lib/python3.12/site-packages/*/__pycache__/*.pyc',
    ],
  ],
  [/^uv pip install .*--target/, ['flash-attn/.*.partial/flash_attn']],
  [/^git fetch/, ['upstream/.*.partial/.git/objects/*/*']],
  [/^git checkout/, ['upstream/.*.partial/.git/index*']],
  [/^hf /, ['cache/hub/models--org--model/blobs/*', 'cache/hub/models--org--model/snapshots/*/*']],
];

const isSwitch = ({ op }: Call) => op === 'rename' || op === 'symlink' || op === 'link';

/** Where to kill. */
function pointsOf(calls: readonly Call[]): KillPoint[] {
  const copies = calls.filter(({ op }) => op === 'cp');
  const someCopies = new Set([copies[0], copies[copies.length >> 1], ...copies.slice(-2)]);
  return calls.flatMap((call, i) => {
    const at = (...whens: KillPoint['when'][]) => whens.map((when) => ({ ...call, when }));
    const { op } = call;
    const previous = calls[i - 1];
    const isSame = !FULL && previous !== undefined && isSwitch(previous);
    if (isSwitch(call)) return isSame ? at('after') : at('before', 'after');
    if (call.idle && !FULL) return [];
    if (op === 'spawn') {
      if (!WRITES.test(call.path)) return FULL ? at('before', 'started') : [];
      const untils = MIDDLES.filter(([program]) => program.test(call.path)).flatMap(([, u]) => u);
      // With the program or without it: both of each take as long again, and are for a full run.
      const middles = untils.flatMap((until, n) =>
        (FULL ? at('started', 'tree') : at(n % 2 === 0 ? 'started' : 'tree')).map((point) => ({
          ...point,
          until,
        })),
      );
      return [
        ...at('started', 'ended', ...(FULL ? (['before', 'tree'] as const) : [])),
        ...middles,
      ];
    }
    if (op === 'cp') return FULL || someCopies.has(call) ? at('torn') : [];
    if (call.path.endsWith('/beat')) return FULL ? at('before', 'torn') : [];
    const isTearable = op === 'writeFile' || op === 'rm';
    if (FULL) return at('before', 'after', ...(isTearable ? (['torn'] as const) : []));
    if (isTearable) return at('torn');
    return call.path.includes('.partial/') ? [] : at('after');
  });
}

const nameOf = ({ op, path: file, nth, when, until }: KillPoint) =>
  `${when} ${op} ${file} (${nth})${until ? ` until ${until}` : ''}`;

/** Kill it there, and say what is wrong afterwards. */
async function surviveAt(scenario: Scenario, point: KillPoint): Promise<string[]> {
  const workspace = await workspaceFor(scenario);
  try {
    const faults: string[] = [];
    const killed = await run(scenario, workspace, { KILL_AT: JSON.stringify(point) });
    if (killed.signal !== 'SIGKILL') faults.push(`was not killed: ${killed.stderr.slice(-500)}`);
    faults.push(...(await believedAfter(scenario, workspace)));
    faults.push(...(await readyAfter(scenario, workspace)));
    return faults.map((fault) => `${nameOf(point)}: ${fault}`);
  } finally {
    await workersGone(workspace);
    await rm(path.dirname(workspace), { recursive: true, force: true });
  }
}

/** What is said to be ready and is not. */
async function believedAfter(scenario: Scenario, workspace: string): Promise<string[]> {
  const args = [...COMMAND, '--dry-run'];
  const { exitCode, stdout, stderr } = await run(scenario, workspace, { args });
  if (exitCode !== 0) return [`then --dry-run failed: ${stdout}${stderr}`];
  const ready = statesIn(stdout).filter(({ state }) => state === 'ready');
  const steps = ready.map(({ name }) => name).filter((name) => scenario.steps.includes(name));
  const wanted = { ...expected, proof: scenario.proof ?? expected.proof, unlinked: true };
  const faults = await faultsOf(workspace, steps, releaseOf(scenario, wanted));
  return faults.map((fault) => `then --dry-run takes for ready ${fault}`);
}

/** For an hour the next runs go on without a flash-attn that was not finished, and for a day they leave half-written leases. */
async function aDayPasses(workspace: string): Promise<void> {
  const file = path.join(workspace, 'flash-attn', 'wheel.json');
  const note = JSON.parse(await readFile(file, 'utf8').catch(() => '{}'));
  if (note.failure)
    await writeFile(file, JSON.stringify({ ...note, failure: { ...note.failure, at: 0 } }));
  const leases = path.join(workspace, 'leases');
  const names = await readdir(leases).catch(() => []); // nobody has held one
  for (const name of names.filter((one) => one.endsWith('.partial'))) {
    await utimes(path.join(leases, name), 0, 0);
  }
}

/** What the next run, undisturbed, does not mend. */
async function readyAfter(scenario: Scenario, workspace: string): Promise<string[]> {
  await aDayPasses(workspace);
  const second = await run(scenario, workspace);
  if (second.exitCode !== 0) return [`then the next run failed: ${second.stdout}${second.stderr}`];
  await workersGone(workspace);
  const left = await leftovers(workspace);
  const steps = statesIn(second.stdout).map(({ name }) => name);
  const wanted = { ...expected, proof: scenario.proof ?? expected.proof };
  const faults = await faultsOf(workspace, steps, releaseOf(scenario, wanted));
  const third = await run(scenario, workspace);
  const again = third.exitCode === 0 ? statesIn(third.stdout) : [];
  const isQuiet = again.length > 0 && again.every(({ state }) => state === 'ready');
  return [
    ...left.map((name) => `then the next run left ${name}`),
    ...faults.map((fault) => `then the next run did not mend ${fault}`),
    ...(isQuiet ? [] : [`then the third run made something: ${third.stdout}${third.stderr}`]),
  ];
}

/** The other app is another release. */
function releaseOf({ app: its }: Scenario, wanted: Expected): Expected {
  if (its === undefined) return wanted;
  const { release: _, ...rest } = wanted;
  return rest;
}

function statesIn(stdout: string): { name: string; state: string }[] {
  return JSON.parse(stdout).steps;
}

/** Do it for all of them, some at once; in the order of `items`. */
async function forAll<T, R>(items: readonly T[], task: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async () => {
    for (const [i, item] of queue) results[i] = await task(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

describe('a bootstrap that is killed while it makes', () => {
  const done = new Set<string>();

  it.each(SCENARIOS)('$name comes back from it', { timeout: 3_600_000 }, async (scenario) => {
    const since = performance.now();
    const calls = (await record(scenario)).filter((call) => {
      // A program does more with other packages; our own calls are the same then.
      const file = call.op === 'spawn' ? call.path : call.path.replaceAll(/[0-9a-f]{12}/g, '#');
      const key = `${call.op} ${file} ${call.nth}`;
      const isNew = !done.has(key);
      if (!call.idle) done.add(key); // where there was nothing to do, nothing was killed
      return isNew;
    });
    const points = pointsOf(calls).filter((_, i) => FULL || i % 3 === 0);
    expect(points.length).toBeGreaterThan(0);
    const faults = (await forAll(points, (point) => surviveAt(scenario, point))).flat();
    if (process.env.LOTUS_TEST_CHAOS) {
      const seconds = ((performance.now() - since) / 1000).toFixed(0);
      console.log(`${scenario.name}: ${calls.length} calls, ${points.length} points, ${seconds} s`);
      if (process.env.LOTUS_TEST_CHAOS === 'list') console.log(points.map(nameOf).join('\n'));
    }
    expect(faults).toEqual([]);
    expect(await readdir(dir)).not.toContain('Lotus');
    expect(existsSync(whole)).toBe(true);
  });
});
