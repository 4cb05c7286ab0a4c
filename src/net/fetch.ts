import { once } from 'node:events';
import type net from 'node:net';
import tls from 'node:tls';
import { Client, type Dispatcher } from 'undici';
import { VERSION } from '../app.ts';
import { cancelled, LotusError } from '../errors.ts';
import { type AllowList, admitsAddress } from './allow.ts';
import { internet, type Network } from './network.ts';
import { notPublic, parseTarget, Refusal, showUrl, type Target } from './target.ts';

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
  readonly network?: Network;
  /** How long the other side may say nothing, in milliseconds; for tests. */
  readonly silenceMs?: number;
  /** Certificates to trust instead of Node's; for tests. */
  readonly ca?: string | undefined;
}

/** Between a shortener, a move to https and a move to www there is room for two more. */
const MAX_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const SILENCE_MS = 10_000;
/** Node's own limit for the headers of an answer. */
const MAX_HEADER_BYTES = 16_384;

const HEADERS = {
  'user-agent': `lotus-worker/${VERSION}`,
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
  const deadline = AbortSignal.timeout(policy.timeoutMs);
  const stop = signal ? AbortSignal.any([signal, deadline]) : deadline;
  const context = { policy, network, silenceMs, ca, signal: stop };
  let redirects = 0;
  try {
    let target = parseTarget(image_url, policy.allow);
    for (;;) {
      stop.throwIfAborted();
      const answer = await get(target, context);
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
    const fault = deadline.aborted
      ? new Failure(`took longer than ${policy.timeoutMs / 1000} s to fetch`)
      : error;
    throw explain(fault, subject);
  }
}

interface Context {
  readonly policy: FetchPolicy;
  readonly network: Network;
  readonly silenceMs: number;
  readonly ca: string | undefined;
  readonly signal: AbortSignal;
}

type Got = { body: Buffer; location?: never } | { body?: never; location: string };

/** One request to one target: its body, or where it redirects to. */
async function get(target: Target, context: Context): Promise<Got> {
  const { policy, silenceMs, signal } = context;
  const addresses = await admit(target, context);
  const client = new Client(target.url.origin, {
    connect: (_options, callback) => {
      open(target, addresses, context).then(
        (socket) => callback(null, socket),
        (error) => callback(error, null),
      );
    },
    headersTimeout: silenceMs,
    bodyTimeout: silenceMs,
    maxHeaderSize: MAX_HEADER_BYTES,
    maxRequestsPerClient: 1,
    allowH2: false,
  });
  try {
    const response = await client.request({
      path: `${target.url.pathname}${target.url.search}`,
      method: 'GET',
      headers: HEADERS,
      signal,
    });
    response.body.on('error', () => {}); // of a body that is not read to its end
    if (REDIRECTS.has(response.statusCode)) return { location: locationOf(response) };
    return { body: await read(response, policy.maxBytes) };
  } finally {
    await client.destroy();
  }
}

/** The addresses that a target may be connected at. */
async function admit(target: Target, { policy, network, signal }: Context): Promise<string[]> {
  const addresses = target.isAddress
    ? [target.host]
    : await network.resolve(target.host, target.isNameAllowed, signal);
  if (addresses.length === 0) throw new Failure('has a host that has no address');
  const wrong = addresses.filter(
    (address) => !admitsAddress(policy.allow, address, target.isNameAllowed),
  );
  if (wrong.length > 0) throw notPublic(new Error(`${target.host} is at ${wrong.join(', ')}`));
  return addresses;
}

/** A connection to one of the addresses, with TLS where the scheme says so; the certificate is the name's. */
async function open(
  { url, host, port, isAddress }: Target,
  addresses: readonly string[],
  { network, ca, silenceMs, signal }: Context,
): Promise<net.Socket> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(silenceMs)]);
  const socket = await network.dial(addresses, port, bounded);
  if (url.protocol === 'http:') return socket;
  socket.on('error', () => {}); // the secured one tells of them
  const secured = tls.connect({
    socket,
    host,
    servername: isAddress ? '' : host, // RFC 6066: no addresses
    ALPNProtocols: ['http/1.1'],
    rejectUnauthorized: true, // whatever NODE_TLS_REJECT_UNAUTHORIZED says
    ...(ca === undefined ? {} : { ca }),
  });
  try {
    await once(secured, 'secureConnect', { signal: bounded });
    return secured;
  } catch (error) {
    secured.on('error', () => {}); // what comes after it was given up
    secured.destroy();
    socket.destroy();
    throw error;
  }
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
    throw new Refusal('is no longer https:: use the address of the image itself');
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
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

function tooLarge(maxBytes: number): Refusal {
  return new Refusal(`is larger than ${maxBytes} bytes: send a smaller file`);
}

/** The other side or the network failed; the message goes on from the address, as a Refusal's does. */
class Failure extends Error {
  override readonly name = 'Failure';
}

/** Whatever went wrong, as the caller may see it. */
function explain(error: unknown, subject: string): LotusError {
  if (error instanceof Refusal || error instanceof Failure) {
    const code = error instanceof Refusal ? 'fetch_refused' : 'fetch_failed';
    return new LotusError(code, `${subject} ${error.message}.`, { cause: error.cause });
  }
  const code = codeOf(error);
  // Not the error itself: undici's have what was received, and TLS's the certificate.
  const cause = new Error(code);
  return new LotusError('fetch_failed', `${subject} cannot be fetched: ${reasonOf(code)}.`, {
    cause,
  });
}

function codeOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown };
  return [code, name, 'unknown'].find(
    (word) => typeof word === 'string' && /^\w+$/.test(word),
  ) as string;
}

/** What the codes of Node and undici mean for whoever gave the address. */
function reasonOf(code: string): string {
  const [, reason] = REASONS.find(([pattern]) => pattern.test(code)) ?? [];
  return `${reason ?? 'the connection failed'} (${code})`;
}

const REASONS: readonly (readonly [RegExp, string])[] = [
  [/^(ENOTFOUND|ENODATA|EBADNAME)$/, 'its host is not known'],
  [/^(EAI_|ESERVFAIL|ETIMEOUT|EREFUSED|ECANCELLED)/, 'its host cannot be looked up now'],
  [/^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH)$/, 'its host cannot be reached'],
  [/TIMEOUT|TIMEDOUT|AbortError|TimeoutError/, 'its host does not answer in time'],
  [/CERT|SELF_SIGNED|^ERR_TLS|^ERR_SSL|^UNABLE_TO/, 'its certificate or its TLS is not right'],
  [/^HPE_|HEADERS_OVERFLOW|RES_CONTENT_LENGTH/, 'what it sends is not right HTTP'],
  [/^(ECONNRESET|EPIPE|UND_ERR_SOCKET)$/, 'the connection broke off'],
];
