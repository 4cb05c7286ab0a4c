import type net from 'node:net';
import tls from 'node:tls';
import { describe, expect, it } from 'vitest';
import { fetchImage } from '../../src/net/fetch.ts';
import { postJson } from '../../src/net/post.ts';
import { selfSigned } from './certificate.ts';
import { failureOf, listen, PUBLIC, policyOf, Stage, sayRaw } from './stage.ts';

/** So much of a piece is on its way at once. */
const BATCH_BYTES = 65_536;
const POLICY = policyOf({ maxBytes: 100_000 });
/** What the machine's buffers may hold beside what we have read: more than they do, less than a flood. */
const MOST_BYTES = 20_000_000;

/** Says a piece again and again, as fast as it is taken. */
function flood(socket: net.Socket, head: string, piece: string): void {
  const batch = Buffer.from(piece.repeat(Math.ceil(BATCH_BYTES / piece.length)));
  const say = () => {
    while (!socket.destroyed && socket.write(batch));
    if (!socket.destroyed) socket.once('drain', say);
  };
  socket.write(head);
  say();
}

const OK = 'HTTP/1.1 200 OK\r\n';
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`;

const FLOODS = [
  ['early hints', '', 'HTTP/1.1 103 Early Hints\r\n\r\n'],
  ['news of its processing', '', 'HTTP/1.1 102 Processing\r\n\r\n'],
  ['words for its status', 'HTTP/1.1 200 ', 'O'],
  ['blank lines', '', '\r\n'],
  ['headers', OK, 'X-A: b\r\n'],
  ['one header', `${OK}X-A: `, 'b'],
  ['zeros of a chunk’s size', CHUNKED, '0'],
  ['what is behind a chunk’s size', `${CHUNKED}1;`, 'a'],
  ['tiny chunks with much behind their sizes', CHUNKED, `1;${'a'.repeat(500)}\r\na\r\n`],
  ['trailers', `${CHUNKED}0\r\n`, 'X-A: b\r\n'],
  ['a body', `${OK}\r\n`, 'a'],
  ['a body in chunks', CHUNKED, '5\r\nabcde\r\n'],
] as const;

describe('a server that sends without end', () => {
  it.each(FLOODS)('%s is cut off long before the time is over', async (_what, head, piece) => {
    const sockets: net.Socket[] = [];
    const { port } = await sayRaw((socket) => {
      sockets.push(socket);
      flood(socket, head, piece);
    });
    const network = new Stage(port, { 'images.example.com': [PUBLIC] });
    const error = await failureOf(fetchImage('http://images.example.com/', POLICY, { network }));
    expect(['fetch_refused', 'fetch_failed']).toContain(error.code);
    expect(error.message).not.toMatch(/in time|took longer/);
    expect(sockets).toHaveLength(1);
    expect(sockets[0]?.bytesWritten).toBeLessThan(MOST_BYTES);
  });

  it('is cut off inside TLS too', async () => {
    const own = await selfSigned('images.example.com');
    const sockets: net.Socket[] = [];
    const port = await listen(
      tls.createServer(own, (socket) => {
        sockets.push(socket);
        socket.on('error', () => {}); // it is cut off
        flood(socket, CHUNKED, `1;${'a'.repeat(500)}\r\na\r\n`);
      }),
    );
    const network = new Stage(port, { 'images.example.com': [PUBLIC] });
    const error = await failureOf(
      fetchImage('https://images.example.com/', POLICY, { network, ca: own.cert }),
    );
    expect(error.message).toContain('sends more than an image has');
    expect(sockets[0]?.bytesWritten).toBeLessThan(MOST_BYTES);
  });

  it('is cut off where a webhook is posted to', async () => {
    const { port } = await sayRaw((socket) =>
      flood(socket, '', 'HTTP/1.1 103 Early Hints\r\n\r\n'),
    );
    const network = new Stage(port, { 'hooks.example.com': [PUBLIC] });
    const error = await failureOf(
      postJson('http://hooks.example.com/', '{}', 'webhook', POLICY, { network }),
    );
    expect(error).toMatchObject({ code: 'fetch_refused' });
  });
});

describe('a body in the smallest chunks', () => {
  it('is taken while with all that is around it it has less than twice what a body may have', async () => {
    const { port } = await sayRaw((socket) => {
      socket.end(`${CHUNKED}${'1\r\na\r\n'.repeat(40_000)}0\r\n\r\n`);
    });
    const network = new Stage(port, { 'images.example.com': [PUBLIC] });
    const body = await fetchImage('http://images.example.com/', POLICY, { network });
    expect(body.length).toBe(40_000);
  });
});
