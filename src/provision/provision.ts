import type { Config, Environment } from '../config.ts';
import { type Report, type StepOutcome, takeSteps } from './step.ts';
import { upstreamStep } from './upstream.ts';
import { type Profile, venvStep } from './venv.ts';

interface ProvisionOptions {
  config: Config;
  env: Environment;
  report: Report;
  profile?: Profile;
  signal?: AbortSignal | undefined;
}

/**
 * Make the workspace ready for the model process: the venv and upstream's checkout.
 *
 * @throws SetupError saying what is missing and what to do, or LotusError `cancelled`.
 */
export async function provision(options: ProvisionOptions): Promise<StepOutcome[]> {
  const { config, env, report, profile = 'runtime', signal } = options;
  const steps = [upstreamStep(config, signal), await venvStep({ config, env, profile, signal })];
  return await takeSteps(steps, report);
}
