import { cancelled } from '../errors.ts';
import { SILENCE_MS } from './connection.ts';
import { explain, Failure } from './faults.ts';
import type { FetchOptions, FetchPolicy } from './fetch.ts';
import { internet } from './network.ts';
import { send } from './send.ts';
import { parseTarget, showUrl } from './target.ts';
import { TimeLimit } from './time-limit.ts';

/**
 * See whether an address that a stranger gave may be posted to, as far as can be told without asking the network.
 *
 * @param what names it in errors: `webhook`.
 * @throws LotusError `fetch_refused`
 */
export function checkPostUrl(url: string, { allow }: FetchPolicy, what: string): void {
  try {
    parseTarget(url, allow);
  } catch (error) {
    throw explain(error, subjectOf(what, url));
  }
}

/**
 * Post JSON to an address that a stranger gave, under the same guard as `fetchImage`. Redirects are not followed, and the
 * answer is not read: 2xx is all that counts.
 *
 * @throws LotusError `fetch_refused`, `fetch_failed`, `cancelled`.
 */
export async function postJson(
  url: string,
  json: string,
  what: string,
  policy: FetchPolicy,
  { signal, network = internet, silenceMs = SILENCE_MS, ca }: FetchOptions = {},
): Promise<void> {
  using limit = new TimeLimit(policy.timeoutMs, signal);
  const context = {
    allow: policy.allow,
    maxBytes: 0,
    network,
    silenceMs,
    ca,
    signal: limit.signal,
  };
  try {
    const headers = { 'content-type': 'application/json' };
    const sent = { method: 'POST', headers, body: json } as const;
    const status = await send(parseTarget(url, policy.allow), sent, context);
    if (status < 200 || status > 299) throw new Failure(`answered ${status}`);
  } catch (error) {
    if (signal?.aborted) throw cancelled();
    throw explain(error, subjectOf(what, url));
  }
}

function subjectOf(what: string, url: string): string {
  return `${what} ${showUrl(url)}`.trimEnd();
}
