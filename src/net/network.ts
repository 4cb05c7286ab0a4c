import dns from 'node:dns/promises';
import { once } from 'node:events';
import net from 'node:net';
import os from 'node:os';
import { unlessAborted } from '../time/waiting.ts';
import { TimeLimit } from './time-limit.ts';

/** What a fetch asks of the network, so that tests can answer it without one. */
export interface Network {
  /** The networks that this machine is in itself, as `address/bits`. */
  attached(): string[];
  /**
   * The addresses of a name.
   *
   * @param isTrusted the operator has named this host: the machine's own files and search domains count.
   */
  resolve(name: string, isTrusted: boolean, signal: AbortSignal): Promise<string[]>;
  /** A connection to one of these addresses, and to nothing else. */
  dial(addresses: readonly string[], port: number, signal: AbortSignal): Promise<net.Socket>;
}

export const internet: Network = { attached, resolve, dial };

function attached(): string[] {
  return Object.values(os.networkInterfaces())
    .flatMap((addresses = []) => addresses.flatMap(({ cidr }) => cidr ?? []))
    .filter((network) => !network.endsWith('/0')); // no network, but everything: some tunnels have it
}

/** c-ares' own times: 3 s for a server, each asked twice. */
const DNS_TIMEOUT_MS = 3000;
const DNS_TRIES = 2;

async function resolve(name: string, isTrusted: boolean, signal: AbortSignal): Promise<string[]> {
  return isTrusted ? await lookUp(name, signal) : await ask(name, signal);
}

/**
 * By the machine's resolver. It runs on threads that file reads need too and cannot be stopped, so it is only for
 * names that an operator has chosen.
 */
async function lookUp(name: string, signal: AbortSignal): Promise<string[]> {
  const answers = await unlessAborted(dns.lookup(name, { all: true }), signal);
  return answers.map(({ address }) => address);
}

/**
 * By asking the name servers: on no thread, and it can be stopped. IPv4 first: containers often have no IPv6.
 *
 * @param servers `address:port`, instead of the machine's; for tests.
 */
export async function ask(
  name: string,
  signal: AbortSignal,
  servers?: readonly string[],
): Promise<string[]> {
  signal.throwIfAborted();
  const resolver = new dns.Resolver({ timeout: DNS_TIMEOUT_MS, tries: DNS_TRIES });
  if (servers) resolver.setServers(servers);
  const stop = () => resolver.cancel();
  signal.addEventListener('abort', stop, { once: true });
  try {
    const answers = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    const failed = answers.find((answer) => answer.status === 'rejected');
    if (found.length === 0 && failed) throw failed.reason;
    return found;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** A host may have many addresses; trying more of them than this finds nothing new. */
const MAX_DIALLED = 4;
/** So that an address that swallows packets leaves time for the next one. */
const DIAL_TIMEOUT_MS = 4000;

async function dial(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
): Promise<net.Socket> {
  let last: unknown = new Error('there is no address');
  for (const address of addresses.slice(0, MAX_DIALLED)) {
    signal.throwIfAborted();
    try {
      using limit = new TimeLimit(DIAL_TIMEOUT_MS, signal);
      return await connect(address, port, limit.signal);
    } catch (error) {
      last = error;
    }
  }
  throw last;
}

async function connect(address: string, port: number, signal: AbortSignal): Promise<net.Socket> {
  // Node would resolve a name, and nothing here may be resolved again.
  if (net.isIP(address) === 0) throw new Error('not an address');
  const socket = net.connect({ host: address, port, noDelay: true });
  try {
    await once(socket, 'connect', { signal });
    return socket;
  } catch (error) {
    socket.on('error', () => {}); // what comes after it was given up
    socket.destroy();
    throw error;
  }
}
