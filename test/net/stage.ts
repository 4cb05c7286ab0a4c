import { once } from 'node:events';
import net from 'node:net';
import { expect, onTestFinished } from 'vitest';
import type { LotusError } from '../../src/errors.ts';
import { type AllowList, parseAllowList } from '../../src/net/allow.ts';
import type { FetchPolicy } from '../../src/net/fetch.ts';
import { internet, type Network } from '../../src/net/network.ts';

/** A public address; nothing here ever connects to it. */
export const PUBLIC = '93.184.216.34';

export function policyOf(changes: Partial<FetchPolicy> & { allowText?: string } = {}): FetchPolicy {
  const { allowText = '', ...rest } = changes;
  const read = parseAllowList(allowText);
  const none: AllowList = { names: [], suffixes: [], networks: [] };
  const allow = 'list' in read ? read.list : none;
  return { allow, maxBytes: 1_000_000, timeoutMs: 60_000, ...rest };
}

/**
 * An internet on this machine's loopback: names have the addresses that the test says, and whoever connects to
 * one of them reaches the test's server. What was asked for is noted.
 */
export class Stage implements Network {
  readonly resolved: string[] = [];
  readonly dialled: { addresses: readonly string[]; port: number }[] = [];
  readonly names: Record<string, string[] | (() => string[])>;
  /** The networks that this machine is said to be in. */
  networks: string[] = [];
  readonly #port: number;

  constructor(port: number, names: Record<string, string[] | (() => string[])>) {
    this.#port = port;
    this.names = names;
  }

  attached(): string[] {
    return this.networks;
  }

  async resolve(name: string): Promise<string[]> {
    this.resolved.push(name);
    const addresses = this.names[name];
    if (!addresses) throw Object.assign(new Error('queryA ENOTFOUND'), { code: 'ENOTFOUND' });
    return typeof addresses === 'function' ? addresses() : addresses;
  }

  async dial(addresses: readonly string[], port: number, signal: AbortSignal): Promise<net.Socket> {
    this.dialled.push({ addresses, port });
    return await internet.dial(['127.0.0.1'], this.#port, signal);
  }
}

/** A network that must not be touched. */
export const NO_NETWORK: Network = {
  attached: () => [],
  resolve: async (name) => expect.fail(`resolved ${name}`),
  dial: async (addresses) => expect.fail(`connected to ${addresses.join(', ')}`),
};

/** Start a server for this test on loopback; its port. */
export async function listen(server: net.Server): Promise<number> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket: net.Socket) => {
    sockets.add(socket);
    socket.on('error', () => {}); // clients here break off
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  return (server.address() as net.AddressInfo).port;
}

/** A server that says these bytes to whoever has sent a request, and what came in. */
export async function sayRaw(
  say: (socket: net.Socket, request: string) => void,
): Promise<{ port: number; requests: string[] }> {
  const requests: string[] = [];
  const port = await listen(
    net.createServer((socket) => {
      socket.once('data', (data) => {
        requests.push(data.toString('latin1'));
        say(socket, data.toString('latin1'));
      });
    }),
  );
  return { port, requests };
}

/** The LotusError that it ends with. */
export async function failureOf(work: Promise<unknown>): Promise<LotusError> {
  const error = await work.then(
    () => expect.fail('it was fetched'),
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ name: 'LotusError', status: expect.any(Number) });
  return error as LotusError;
}
