import { mkdir } from 'node:fs/promises';
import type { Config, Environment } from '../config.ts';
import { isCancelled, messageOf } from '../errors.ts';
import type { Profile } from '../settings.ts';
import { flashAttnStep } from './flash-attn.ts';
import { interpreterStep } from './interpreter.ts';
import { isLeftBehind, type Lock, withLock } from './lock.ts';
import { releaseStep } from './release.ts';
import { measureWriting, type Room, requireRooms } from './room.ts';
import {
  asSetupError,
  type Checked,
  checkSteps,
  isRefusal,
  type Made,
  makeSteps,
  type Observer,
  outcomeOf,
  remember,
  type Step,
  type StepOutcome,
  skipped,
} from './step.ts';
import { STEP_NAMES, type StepName } from './steps.ts';
import { sweepHalfMade } from './sweep.ts';
import { upstreamStep } from './upstream.ts';
import { venvStep } from './venv.ts';
import { volumeStep } from './volume.ts';
import { weightsStep } from './weights.ts';

/** How long one that is ready waits for the lock to clear up after others. */
const TIDY_UP_MS = 3000;

interface ProvisionOptions {
  config: Config;
  env: Environment;
  observer: Observer;
  /** Which steps to take; they are taken in their own order. */
  steps: readonly StepName[];
  /** Packages that are asked for by name, before the setting. */
  profile?: Profile | undefined;
  /** Look for a newer revision of the model. */
  update?: boolean;
  signal?: AbortSignal | undefined;
}

export interface Provisioned {
  outcomes: StepOutcome[];
  /** What the steps have given; all of it when all steps were taken. */
  made: Made;
}

/**
 * Make the workspace ready.
 *
 * What is ready costs a look and no lock: a prepared volume may be read-only. What is not is made under the
 * workspace's lock, so that of any number of workers that start at once one builds and the others wait. Where only
 * what is optional is missing and nothing can be written, it is skipped.
 *
 * @throws SetupError saying what is missing and what to do, or LotusError `cancelled`.
 */
export async function provision(options: ProvisionOptions): Promise<Provisioned> {
  const { config, observer, signal } = options;
  const say = (line: string) => observer.said?.('volume', line);
  const { checked, made } = await look(options);
  const wanted = checked.filter(({ found }) => found.state === 'missing');
  if (wanted.length === 0) {
    for (const { step, found } of checked) {
      await remember(found, (line) => observer.said?.(step.name, line));
    }
    if (await isLeftBehind(config.workspace)) await tidyUp(config.workspace, say, signal);
    return { outcomes: tellAll(checked.map(outcomeOf), observer), made: made as Made };
  }
  try {
    return await makeUnderLock(options, say);
  } catch (error) {
    const isNeeded = wanted.some(({ step }) => !step.optional);
    if (isNeeded || !isRefusal(error)) asSetupError('volume', error);
    const outcomes = checked.map(outcomeOf).map((outcome) => withoutIt(outcome, messageOf(error)));
    return { outcomes: tellAll(outcomes, observer), made: made as Made };
  }
}

async function makeUnderLock(
  options: ProvisionOptions,
  say: (line: string) => void,
): Promise<Provisioned> {
  const { config, observer, signal } = options;
  const { workspace } = config;
  await mkdir(workspace, { recursive: true });
  return await withLock({ workspace, report: say, signal }, async (lock) => {
    await sweepHalfMade(workspace, say);
    // Looks again: another may have made it while we waited.
    const steps = stepsOf({ ...options, signal: lock.signal });
    return await makeSteps(steps, telling(lock, observer), async (checked) => {
      const { fitting, rooms } = await fit(checked, workspace);
      await measureWriting(workspace, rooms, say);
      return fitting;
    });
  });
}

/**
 * See that there is room for what is to be made. What is optional gets what is left beside the rest, or is skipped.
 *
 * @throws SetupError when there is not enough for what is needed.
 */
async function fit(checked: readonly Checked[], workspace: string) {
  const needed = checked.filter(({ step }) => !step.optional);
  let rooms = await requireRooms(needed.flatMap(({ found }) => roomsOf(found, workspace)));
  const fitting: Checked[] = [];
  for (const one of checked) {
    const own = one.step.optional ? roomsOf(one.found, workspace) : [];
    try {
      if (own.length > 0) rooms = await requireRooms([...rooms, ...own]);
      fitting.push(one);
    } catch (error) {
      fitting.push({ ...one, found: skipped(messageOf(error)) });
    }
  }
  return { fitting, rooms };
}

/** Tells those who wait for the lock, too. */
function telling(lock: Lock, observer: Observer): Observer {
  return {
    ...observer,
    began: (name) => {
      lock.tell(name);
      observer.began?.(name);
    },
    said: (name, line) => {
      lock.tell(`${name}: ${line}`);
      observer.said?.(name, line);
    },
  };
}

function tellAll(outcomes: StepOutcome[], observer: Observer): StepOutcome[] {
  for (const outcome of outcomes) observer.ended?.(outcome);
  return outcomes;
}

/** What is missing where nothing can be made, and nothing needs to be. */
function withoutIt(outcome: StepOutcome, why: string): StepOutcome {
  if (outcome.state !== 'missing') return outcome;
  const what = `${outcome.what} is missing, and nothing can be written there: ${why}`;
  return { ...outcome, state: 'skipped', what };
}

/**
 * One that was killed after its last switch has made everything and cleared up nothing. Whoever has the lock does that
 * too, so one that is ready does not wait for it.
 */
async function tidyUp(
  workspace: string,
  say: (line: string) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const patience = AbortSignal.timeout(TIDY_UP_MS);
  const either = signal ? AbortSignal.any([signal, patience]) : patience;
  const options = { workspace, report: say, signal: either, timing: { quiet: Infinity } };
  try {
    await withLock(options, () => sweepHalfMade(workspace, say));
  } catch (error) {
    if (isCancelled(error) && !signal?.aborted) {
      return say('what a killed run left is still there: another has the lock, and clears up');
    }
    if (isCancelled(error)) throw error;
    say(`what a killed run left is still there: ${messageOf(error)}`); // on a read-only volume, say
  }
}

/**
 * Say what is there and what would be made, and change nothing.
 *
 * @throws SetupError of a step that cannot be made at all.
 */
export async function survey(options: ProvisionOptions): Promise<StepOutcome[]> {
  return (await look(options)).checked.map(outcomeOf);
}

/** The steps by their names, in their order. */
export function stepsOf(options: Omit<ProvisionOptions, 'observer'>): Step[] {
  const { config, env, profile, update = false, signal } = options;
  const all: Record<StepName, () => Step> = {
    volume: () => volumeStep(config),
    release: () => releaseStep({ config, env, signal }),
    interpreter: () => interpreterStep({ config, env, signal }),
    venv: () => venvStep({ config, env, profile, signal }),
    upstream: () => upstreamStep(config, signal),
    weights: () => weightsStep({ config, env, update, signal }),
    'flash-attn': () => flashAttnStep({ config, env, signal }),
  };
  return STEP_NAMES.filter((name) => options.steps.includes(name)).map((name) => all[name]());
}

async function look(options: ProvisionOptions) {
  return await checkSteps(stepsOf(options), options.observer);
}

function roomsOf(found: Checked['found'], workspace: string): readonly Room[] {
  if (found.state !== 'missing') return [];
  return typeof found.needs === 'number' ? [{ dir: workspace, bytes: found.needs }] : found.needs;
}
