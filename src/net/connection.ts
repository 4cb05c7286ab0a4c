import { once } from 'node:events';
import type net from 'node:net';
import tls from 'node:tls';
import { Client } from 'undici';
import { VERSION } from '../app.ts';
import { type AllowList, admitsAddress } from './allow.ts';
import { Failure } from './faults.ts';
import type { Network } from './network.ts';
import { notPublic, Refusal, type Target } from './target.ts';
import { TimeLimit } from './time-limit.ts';

/** Node's own limit for the headers of an answer. */
const MAX_HEADER_BYTES = 16_384;

export const SILENCE_MS = 10_000;
export const USER_AGENT = `lotus-worker/${VERSION}`;

/**
 * What is around a body: headers, redirects' own bodies, the handshake of TLS. Chunks have their sizes besides; for those
 * there is as much again as the body may have, so only one in chunks of a few bytes does not get all of that.
 */
const MAX_OVERHEAD_BYTES = 128 * 1024;

export interface Context {
  readonly allow: AllowList;
  /** The largest body of an answer. */
  readonly maxBytes: number;
  readonly network: Network;
  /** How long the other side may say nothing, in milliseconds. */
  readonly silenceMs: number;
  /** Certificates to trust instead of Node's. */
  readonly ca: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * Speak to a target by a connection of its own, which goes to an address that was looked at and ends afterwards.
 *
 * @throws Refusal when one of the addresses that it has is not admitted, and whatever the network does.
 */
export async function withConnection<T>(
  target: Target,
  context: Context,
  use: (client: Client) => Promise<T>,
): Promise<T> {
  const { silenceMs, maxBytes } = context;
  const addresses = await admit(target, context);
  const client = new Client(target.url.origin, {
    connect: (_options, callback) => {
      open(target, addresses, context).then(
        (socket) => callback(null, boundBytes(socket, 2 * maxBytes + MAX_OVERHEAD_BYTES)),
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
    return await use(client);
  } finally {
    await client.destroy();
  }
}

/**
 * Ends a connection that brings more than an answer may have in all. The parser bounds headers and bodies, but not
 * informational answers, what is behind the sizes of chunks, or a status line: they would go on until time is up.
 */
function boundBytes(socket: net.Socket, maxBytes: number): net.Socket {
  return socket.on('readable', () => {
    if (socket.bytesRead > maxBytes) socket.destroy(new Refusal('sends more than an image has'));
  });
}

/**
 * The addresses that a target may be connected at. A public one of this machine or of a network that it is in is somebody's
 * own all the same: a firewall that keeps strangers out does not keep us out.
 */
async function admit(target: Target, { allow, network, signal }: Context): Promise<string[]> {
  const { host, isAddress, isNameAllowed } = target;
  const addresses = isAddress ? [host] : await network.resolve(host, isNameAllowed, signal);
  if (addresses.length === 0) throw new Failure('has a host that has no address');
  const own = network.attached();
  const wrong = addresses.filter((address) => !admitsAddress(allow, address, isNameAllowed, own));
  if (wrong.length > 0) {
    throw notPublic(new Error(`${host} is at ${wrong.slice(0, MAX_NAMED).join(', ')}`));
  }
  return addresses;
}

/** A name may have thousands of addresses; the log need not. */
const MAX_NAMED = 8;

/** A connection to one of the addresses, with TLS where the scheme says so; the certificate is the name's. */
async function open(
  { url, host, port, isAddress }: Target,
  addresses: readonly string[],
  { network, ca, silenceMs, signal }: Context,
): Promise<net.Socket> {
  using limit = new TimeLimit(silenceMs, signal);
  const socket = await network.dial(addresses, port, limit.signal);
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
    await once(secured, 'secureConnect', { signal: limit.signal });
    return secured;
  } catch (error) {
    secured.on('error', () => {}); // what comes after it was given up
    secured.destroy();
    socket.destroy();
    throw error;
  }
}
