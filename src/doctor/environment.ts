import type { Environment } from '../config.ts';
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
