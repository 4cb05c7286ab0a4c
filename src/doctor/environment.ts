import type { Config, Environment } from '../config.ts';
import { withoutCredentials } from '../errors.ts';
import { SECRETS, settings } from '../settings.ts';
import { type Finding, note, ok } from './finding.ts';

/** Variables that start so and are no setting are most likely meant to be one. */
const OURS = /^LOTUS_/;

/** The settings that are set; of secrets, whether they are. */
export function examineEnvironment(env: Environment): Finding[] {
  const secret: ReadonlySet<string> = new Set(SECRETS);
  const names = Object.keys(settings.shape).filter((name) => env[name] && !secret.has(name));
  const set = names.map((name) => ok(name, withoutCredentials(env[name] ?? '')));
  const secrets = SECRETS.map((name) => ok(name, env[name] ? 'set' : 'not set'));
  const known = new Set<string>([...Object.keys(settings.shape), ...SECRETS]);
  const unknown = Object.keys(env)
    .filter((name) => OURS.test(name) && !known.has(name))
    .map((name) => note(name, 'is no setting', 'docs/settings.md lists them'));
  return [...set, ...secrets, ...unknown];
}

/** Whether there is a bucket; it is not asked whether it takes anything. */
export function examineUploads({ uploads: { bucket } }: Pick<Config, 'uploads'>): Finding {
  if (bucket === null) return ok('uploads', 'no bucket: files stay on the volume');
  const { endpoint, name, region } = bucket;
  const where = `${endpoint}, ${name ?? "by the month, as in RunPod's SDK"}, region ${region}`;
  return ok('uploads', `what is not in an answer goes to the bucket at ${where}`);
}
