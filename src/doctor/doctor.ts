import type { Config, Environment } from '../config.ts';
import { messageOf } from '../errors.ts';
import { stepsOf } from '../provision/provision.ts';
import type { Made, Step } from '../provision/step.ts';
import { STEP_NAMES } from '../provision/steps.ts';
import { examineEnvironment } from './environment.ts';
import { type Finding, fault, note, ok } from './finding.ts';
import { examineGpu } from './gpu.ts';
import { examineLimits } from './limits.ts';
import { examinePrograms } from './programs.ts';

/** What a checkup looks at, group by group. */
export interface Checkup {
  readonly title: string;
  readonly findings: readonly Finding[];
}

/**
 * Look at everything that a job needs, and change nothing.
 *
 * @returns findings in groups; a job would fail here when one of them is a fault.
 */
export async function examine(
  config: Config,
  env: Environment,
  signal?: AbortSignal,
): Promise<Checkup[]> {
  const { findings, made } = await examineSteps(config, env, signal);
  return [
    { title: 'Programs', findings: await examinePrograms(config, signal) },
    { title: 'Workspace', findings },
    { title: 'GPU', findings: await examineGpu(config, env, made, signal) },
    { title: 'Limits', findings: await examineLimits(config) },
    { title: 'Environment', findings: examineEnvironment(env) },
  ];
}

/** The steps of provisioning, each looked at on its own: one that cannot be made is no reason to stop. */
async function examineSteps(config: Config, env: Environment, signal?: AbortSignal) {
  const made: Partial<Made> = {};
  const findings: Finding[] = [];
  for (const step of stepsOf({ config, env, steps: STEP_NAMES, signal })) {
    findings.push(await examineStep(step, made));
  }
  return { findings, made };
}

async function examineStep(step: Step, made: Partial<Made>): Promise<Finding> {
  try {
    const found = await step.check(made as Made);
    if (found.state === 'ready') {
      Object.assign(made, found.gives);
      return ok(step.name, found.what);
    }
    const what = `not there: ${found.what}`;
    const advice = 'lotus-worker bootstrap makes it';
    const isNeeded = !step.optional && step.name !== 'release';
    return (isNeeded ? fault : note)(step.name, what, advice);
  } catch (error) {
    return fault(step.name, messageOf(error));
  }
}
