import { cancelled } from '../errors.ts';
import { type AllowList, isInNetworks } from './allow.ts';
import { SILENCE_MS } from './connection.ts';
import { explain, Failure } from './faults.ts';
import type { FetchOptions } from './fetch.ts';
import { internet } from './network.ts';
import { send } from './send.ts';
import { parseTarget, Refusal, type Target } from './target.ts';
import { TimeLimit } from './time-limit.ts';

/** Where may be put to, and how long that may take. */
export interface PutPolicy {
  readonly allow: AllowList;
  /** For all of it: the name, the connection, the bytes and the answer. */
  readonly timeoutMs: number;
}

/** What is put, and where. */
export interface Put {
  readonly url: string;
  readonly bytes: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Read an address that a stranger wants to have something put to, as far as can be told without asking the network: https,
 * or http where the operator has allowed the host.
 *
 * @param what names it in errors: `upload_url`.
 * @throws LotusError `fetch_refused`
 */
export function checkPutUrl(url: string, allow: AllowList, what: string): URL {
  try {
    return parsePutTarget(url, allow).url;
  } catch (error) {
    throw explain(error, subjectOf(what, url));
  }
}

/**
 * Put bytes to an address that a stranger gave, once, under the same guard as `fetchImage`. Redirects are not followed, and
 * the answer is not read.
 *
 * @returns the answer's status.
 * @throws LotusError `fetch_refused`, `fetch_failed`, `cancelled`. Their texts have the host, and nothing else of the URL.
 */
export async function putBytes(
  { url, bytes, headers }: Put,
  what: string,
  { allow, timeoutMs }: PutPolicy,
  { signal, network = internet, silenceMs = SILENCE_MS, ca }: FetchOptions = {},
): Promise<number> {
  using limit = new TimeLimit(timeoutMs, signal);
  const context = { allow, maxBytes: 0, network, silenceMs, ca, signal: limit.signal };
  try {
    // The time for all of it has to do for the headers, whose own counts from the first byte that we send.
    const sent = { method: 'PUT', headers, body: bytes, headersTimeout: 0 } as const;
    return await send(parsePutTarget(url, allow), sent, context);
  } catch (error) {
    if (signal?.aborted) throw cancelled();
    const fault = limit.isOver ? new Failure(`took longer than ${timeoutMs / 1000} s`) : error;
    throw explain(fault, subjectOf(what, url), 'reached');
  }
}

function parsePutTarget(text: string, allow: AllowList): Target {
  const target = parseTarget(text, allow);
  const { url, host, isAddress, isNameAllowed } = target;
  const isAllowed = isNameAllowed || (isAddress && isInNetworks(allow, host));
  if (url.protocol === 'http:' && !isAllowed) {
    throw new Refusal('is http: and anybody on the way could read it; use an https: address');
  }
  return target;
}

/** By the host alone: what is behind it may be a secret of somebody's storage. */
function subjectOf(what: string, url: string): string {
  return `${what} ${URL.parse(url)?.host ?? ''}`.trimEnd();
}
