import type { Client, Dispatcher } from 'undici';
import { cancelled } from '../errors.ts';
import { Pieces } from '../pieces.ts';
import type { AllowList } from './allow.ts';
import { SILENCE_MS, USER_AGENT, withConnection } from './connection.ts';
import { explain, Failure } from './faults.ts';
import { internet, type Network } from './network.ts';
import { parseTarget, Refusal, showUrl, type Target } from './target.ts';
import { TimeLimit } from './time-limit.ts';

/** What may be fetched, and how much of it. */
export interface FetchPolicy {
  readonly allow: AllowList;
  readonly maxBytes: number;
  /** For all of it: names, connections, redirects and the body. */
  readonly timeoutMs: number;
}

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined;
  /** Instead of the real one; for tests. */
  readonly network?: Network | undefined;
  /** How long the other side may say nothing, in milliseconds; for tests. */
  readonly silenceMs?: number;
  /** Certificates to trust instead of Node's; for tests. */
  readonly ca?: string | undefined;
}

/** Between a shortener, a move to https and a move to www there is room for two more. */
const MAX_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

const HEADERS = {
  'user-agent': USER_AGENT,
  // Without the rest at the end, some servers send what they think is better than these.
  accept: 'image/png, image/jpeg, image/webp, */*;q=0.1',
  'accept-encoding': 'identity',
};

/**
 * Fetch an image from an address that a stranger gave.
 *
 * Only public addresses are connected to, and those that the operator has allowed. A host is resolved once for
 * a request, every address that it has must pass, and the connection goes to one of those that were looked at:
 * what the name means a moment later does not matter. Each redirect is looked at anew. Nothing of ours is sent
 * along, no proxy of the environment is used, and no connection is used twice.
 *
 * @returns the body of the answer, of whatever kind it is.
 * @throws LotusError `fetch_refused` where the guard says no, `fetch_failed` where the other side or the network
 *   does, `cancelled`. Their texts have nothing of the URL's query and nothing of the answer but its status.
 */
export async function fetchImage(
  image_url: string,
  policy: FetchPolicy,
  { signal, network = internet, silenceMs = SILENCE_MS, ca }: FetchOptions = {},
): Promise<Buffer> {
  using limit = new TimeLimit(policy.timeoutMs, signal);
  const context = { ...policy, network, silenceMs, ca, signal: limit.signal };
  let redirects = 0;
  try {
    let target = parseTarget(image_url, policy.allow);
    for (;;) {
      limit.signal.throwIfAborted();
      const to = target;
      const answer = await withConnection(to, context, (client) => get(to, client, context));
      if (answer.body) return answer.body;
      redirects += 1;
      if (redirects > MAX_REDIRECTS)
        throw new Refusal(`redirects more than ${MAX_REDIRECTS} times`);
      target = follow(target, answer.location, policy.allow);
    }
  } catch (error) {
    if (signal?.aborted) throw cancelled();
    const shown = `image_url ${showUrl(image_url)}`.trimEnd();
    const subject = redirects > 0 ? `${shown} redirects, and the new address` : shown;
    const fault = limit.isOver
      ? new Failure(`took longer than ${policy.timeoutMs / 1000} s to fetch`)
      : error;
    throw explain(fault, subject);
  }
}

interface GetContext {
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

type Got = { body: Buffer; location?: never } | { body?: never; location: string };

/** One request to one target: its body, or where it redirects to. */
async function get({ url }: Target, client: Client, context: GetContext): Promise<Got> {
  const response = await client.request({
    path: `${url.pathname}${url.search}`,
    method: 'GET',
    headers: HEADERS,
    signal: context.signal,
  });
  response.body.on('error', () => {}); // of a body that is not read to its end
  if (REDIRECTS.has(response.statusCode)) return { location: locationOf(response) };
  return { body: await read(response, context.maxBytes) };
}

function locationOf({ statusCode, headers }: Dispatcher.ResponseData): string {
  const { location } = headers;
  if (typeof location === 'string') return location;
  throw new Failure(`answered ${statusCode} and does not say where the image is`);
}

/** Where a redirect leads. */
function follow(from: Target, location: string, allow: AllowList): Target {
  const to = parseTarget(location, allow, from.url);
  if (from.url.protocol === 'https:' && to.url.protocol === 'http:') {
    throw new Refusal(
      'is http: where the one before was https:; use the address of the image itself',
    );
  }
  return to;
}

async function read(response: Dispatcher.ResponseData, maxBytes: number): Promise<Buffer> {
  const { statusCode, headers, body } = response;
  if (statusCode !== 200) {
    throw new Failure(`answered ${statusCode}: check that anybody can open it`);
  }
  const { 'content-encoding': encoding = 'identity', 'content-length': length } = headers;
  // Compressed bytes may become any number of bytes.
  if (String(encoding).toLowerCase() !== 'identity') {
    throw new Refusal('sends the image compressed, although it was asked not to');
  }
  if (Number(length) > maxBytes) throw tooLarge(maxBytes);
  const pieces = new Pieces();
  for await (const piece of body as AsyncIterable<Buffer>) {
    pieces.add(piece);
    if (pieces.bytes > maxBytes) throw tooLarge(maxBytes);
  }
  return pieces.join();
}

function tooLarge(maxBytes: number): Refusal {
  return new Refusal(`is larger than ${maxBytes} bytes: send a smaller file`);
}
