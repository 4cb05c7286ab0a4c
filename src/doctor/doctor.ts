import { setTimeout as sleep } from 'node:timers/promises';
import type { Config, Environment } from '../config.ts';
import { messageOf } from '../errors.ts';
import { stepsOf } from '../provision/provision.ts';
import type { Made, Step } from '../provision/step.ts';
import { STEP_NAMES } from '../provision/steps.ts';
import { examineEnvironment, examineUploads } from './environment.ts';
import { type Finding, fault, note, ok } from './finding.ts';
import { examineGpu } from './gpu.ts';
import { examineLimits } from './limits.ts';
import { examinePrograms } from './programs.ts';
import { examineVolume, writingFault } from './volume.ts';

/** What a checkup looks at, group by group. */
export interface Checkup {
  readonly title: string;
  readonly findings: readonly Finding[];
}

interface ExamineOptions {
  signal?: AbortSignal | undefined;
  /** How long one thing may take to look at, in milliseconds. */
  patience?: number | undefined;
}

/** Twice what a few interpreters take that do not answer. A volume whose server is gone answers nobody, ever. */
const PATIENCE_MS = 240_000;

/**
 * Look at everything that a job needs, and change nothing.
 *
 * @returns findings in groups; a job would fail here when one of them is a fault. And whether something never
 *   answered: Node cannot end by itself then.
 */
export async function examine(
  config: Config,
  env: Environment,
  { signal, patience = PATIENCE_MS }: ExamineOptions = {},
): Promise<{ checkups: Checkup[]; hangs: boolean }> {
  let hangs = false;
  const look: Look = async (name, looking) => {
    const findings = await patiently(looking, patience);
    if (findings !== null) return findings;
    hangs = true;
    const what = `no answer within ${patience / 1000} s`;
    return [fault(name, what, 'the volume hangs: attach it again, or use another machine')];
  };
  const cannotWrite = await patiently(writingFault(config), patience);
  const made: Partial<Made> = {};
  const checkups = [
    { title: 'Programs', findings: await look('programs', examinePrograms(config, signal)) },
    {
      title: 'Workspace',
      findings: [
        ...(await examineSteps({ config, env, signal, look, made, cannotWrite })),
        ...(await look('workspace', examineVolume(config, cannotWrite))),
      ],
    },
    { title: 'GPU', findings: await examineGpu(config, env, made, { signal }) },
    { title: 'Limits', findings: await look('limits', examineLimits(config)) },
    { title: 'Environment', findings: [...examineEnvironment(env), examineUploads(config)] },
  ];
  return { checkups, hangs };
}

type Look = (name: string, looking: Promise<Finding[]>) => Promise<Finding[]>;

/** What comes of a promise; null when nothing does for so long. */
async function patiently<T>(promise: Promise<T>, patience: number): Promise<T | null> {
  const over = new AbortController();
  const late = sleep(patience, null, { signal: over.signal }).catch(() => null); // it came
  try {
    return await Promise.race([promise, late]);
  } finally {
    over.abort();
  }
}

interface StepsOptions {
  config: Config;
  env: Environment;
  signal: AbortSignal | undefined;
  look: Look;
  /** Gets what the steps give. */
  made: Partial<Made>;
  cannotWrite: string | null;
}

/** The steps of provisioning, each looked at on its own: one that cannot be made is no reason to stop. */
async function examineSteps(options: StepsOptions): Promise<Finding[]> {
  const { config, env, signal, look, made, cannotWrite } = options;
  const advice =
    cannotWrite === null
      ? 'lotus-worker bootstrap makes it'
      : `lotus-worker bootstrap makes it, but not here: ${cannotWrite}`;
  const findings: Finding[] = [];
  for (const step of stepsOf({ config, env, steps: STEP_NAMES, signal })) {
    findings.push(...(await look(step.name, examineStep(step, made, advice))));
  }
  return findings;
}

async function examineStep(step: Step, made: Partial<Made>, advice: string): Promise<Finding[]> {
  try {
    const found = await step.check(made as Made);
    if (found.state === 'skipped') return [note(step.name, `not there: ${found.what}`)];
    if (found.state === 'ready') {
      Object.assign(made, found.gives);
      return [ok(step.name, found.what)];
    }
    return [(step.optional ? note : fault)(step.name, `not there: ${found.what}`, advice)];
  } catch (error) {
    return [(step.optional ? note : fault)(step.name, messageOf(error))];
  }
}
