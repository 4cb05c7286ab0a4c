import { once } from 'node:events';
import type net from 'node:net';
import tls from 'node:tls';
import { Client } from 'undici';
import { VERSION } from '../app.ts';
import { type AllowList, admitsAddress } from './allow.ts';
import { Failure } from './faults.ts';
import type { Network } from './network.ts';
import { notPublic, type Target } from './target.ts';

/** Node's own limit for the headers of an answer. */
const MAX_HEADER_BYTES = 16_384;

export const SILENCE_MS = 10_000;
export const USER_AGENT = `lotus-worker/${VERSION}`;

export interface Context {
  readonly allow: AllowList;
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
  const { silenceMs } = context;
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
    return await use(client);
  } finally {
    await client.destroy();
  }
}

/** The addresses that a target may be connected at. */
async function admit(target: Target, { allow, network, signal }: Context): Promise<string[]> {
  const addresses = target.isAddress
    ? [target.host]
    : await network.resolve(target.host, target.isNameAllowed, signal);
  if (addresses.length === 0) throw new Failure('has a host that has no address');
  const wrong = addresses.filter((address) => !admitsAddress(allow, address, target.isNameAllowed));
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
