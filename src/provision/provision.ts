import type { Config, Environment } from '../config.ts';
import { type Report, type StepOutcome, takeSteps } from './step.ts';
import { upstreamStep } from './upstream.ts';
import { type Profile, venvStep } from './venv.ts';

/**
 * Make the workspace ready for the model process: the venv and upstream's checkout.
 *
 * @throws SetupError saying what is missing and what to do.
 */
export async function provision(
  config: Config,
  env: Environment,
  report: Report,
  profile: Profile = 'runtime',
): Promise<StepOutcome[]> {
  return await takeSteps([upstreamStep(config), await venvStep(config, env, profile)], report);
}
