import dgram from 'node:dgram';
import { once } from 'node:events';
import http from 'node:http';
import { describe, expect, it, onTestFinished } from 'vitest';
import { fetchImage } from '../../src/net/fetch.ts';
import { ask, internet } from '../../src/net/network.ts';
import { failureOf, listen, policyOf } from './stage.ts';

const NEVER = new AbortController().signal;
const A = 1;
const AAAA = 28;

/** A name server with these answers of four or sixteen bytes; without one, it says that there is no such name. */
async function nameServer(answers: Record<number, number[][]>): Promise<string> {
  const socket = dgram.createSocket('udp4');
  socket.on('message', (query, from) => {
    const end = query.indexOf(0, 12) + 5; // the name, its type and its class
    const records = answers[query.readUInt16BE(end - 4)] ?? [];
    const head = Buffer.from(query.subarray(0, 12));
    head.writeUInt16BE(Object.keys(answers).length > 0 ? 0x8180 : 0x8183, 2);
    head.writeUInt16BE(records.length, 6);
    head.writeUInt32BE(0, 8);
    const rest = records.map((data) =>
      Buffer.from([
        0xc0,
        12,
        0,
        query.readUInt16BE(end - 4),
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        data.length,
        ...data,
      ]),
    );
    socket.send(Buffer.concat([head, query.subarray(12, end), ...rest]), from.port, from.address);
  });
  return await bound(socket);
}

async function bound(socket: dgram.Socket): Promise<string> {
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  onTestFinished(() => {
    socket.close();
  });
  return `127.0.0.1:${socket.address().port}`;
}

describe('ask', () => {
  const sixteen = [0x26, 6, 0x47, 0, 0x47, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x11];

  it('gives the addresses of both families, IPv4 first', async () => {
    const server = await nameServer({
      [A]: [
        [8, 8, 8, 8],
        [10, 0, 0, 1],
      ],
      [AAAA]: [sixteen],
    });
    const addresses = await ask('images.example.com', NEVER, [server]);
    expect(addresses.toSorted()).toEqual(['10.0.0.1', '2606:4700:4700::1111', '8.8.8.8']);
    expect(addresses.at(-1)).toBe('2606:4700:4700::1111');
  });

  it.each([
    [{ [A]: [[8, 8, 8, 8]] }, '8.8.8.8'],
    [{ [AAAA]: [sixteen] }, '2606:4700:4700::1111'],
  ])('is content with one family', async (answers, address) => {
    const server = await nameServer(answers);
    expect(await ask('images.example.com', NEVER, [server])).toEqual([address]);
  });

  it('fails for a name that is not known', async () => {
    const server = await nameServer({});
    await expect(ask('images.example.com', NEVER, [server])).rejects.toMatchObject({
      code: 'ENOTFOUND',
    });
  });

  it('ends when it is stopped, although the server says nothing', async () => {
    const silent = dgram.createSocket('udp4');
    const server = await bound(silent);
    const stop = new AbortController();
    silent.once('message', () => stop.abort());
    await expect(ask('images.example.com', stop.signal, [server])).rejects.toMatchObject({
      code: 'ECANCELLED',
    });
  });
});

describe('attached', () => {
  it('names the networks of this machine, loopback among them, but not everything as one', () => {
    const networks = internet.attached();
    expect(networks).toContain('127.0.0.1/8');
    expect(networks.filter((network) => !/^[0-9a-f.:]+\/[1-9]\d*$/.test(network))).toEqual([]);
  });
});

describe('dial', () => {
  const serve = () => listen(http.createServer((_request, response) => response.end('image')));

  it('tries the next address when one cannot be connected to', async () => {
    const port = await serve(); // at 127.0.0.1 alone
    const socket = await internet.dial(['127.0.0.2', '127.0.0.1'], port, NEVER);
    expect(socket.remoteAddress).toBe('127.0.0.1');
    socket.destroy();
  });

  it('fails as the last of them did', async () => {
    const port = await serve();
    const dialled = internet.dial(['127.0.0.2', '127.0.0.3'], port, NEVER);
    await expect(dialled).rejects.toMatchObject({ code: 'ECONNREFUSED', address: '127.0.0.3' });
  });

  it('resolves no name', async () => {
    const port = await serve();
    await expect(internet.dial(['localhost'], port, NEVER)).rejects.toThrow('not an address');
  });

  it('does not connect when it was stopped', async () => {
    const port = await serve();
    await expect(internet.dial(['127.0.0.1'], port, AbortSignal.abort())).rejects.toThrow();
  });

  it.each([
    ['127.0.0.1', '127.0.0.0/8'],
    ['localhost', 'localhost'],
  ])('reaches %s where the operator allows it, and not where not', async (host, allowText) => {
    const port = await serve();
    const url = `http://${host}:${port}/`;
    expect((await fetchImage(url, policyOf({ allowText }))).toString()).toBe('image');
    expect(await failureOf(fetchImage(url, policyOf()))).toMatchObject({ code: 'fetch_refused' });
  });
});
