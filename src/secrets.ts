import type { Environment } from './config.ts';
import { withoutCredentials } from './errors.ts';
import { SECRETS } from './settings.ts';

/** A shorter value is part of too many words, and no secret that keeps anybody out. */
const SHORTEST = 8;

/** A text that goes into a log, an error or a file: without credentials, and without the values of our secrets. */
export function withoutSecrets(text: string, env: Environment = process.env): string {
  const values = SECRETS.map((name) => env[name] ?? '').filter(({ length }) => length >= SHORTEST);
  // A text may be JSON, as the log's lines are, and has quotes and backslashes escaped then.
  const forms = values.flatMap((value) => [value, JSON.stringify(value).slice(1, -1)]);
  return forms.reduce((shown, value) => shown.replaceAll(value, '***'), withoutCredentials(text));
}
