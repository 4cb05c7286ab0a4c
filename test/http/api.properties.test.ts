import { once } from 'node:events';
import net from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Api, KEY, serveApi } from './api.ts';

const BEARER = `Authorization: Bearer ${KEY}\r\n`;

/** What comes back for these bytes on a connection of their own, until the server ends it. */
async function answersTo(api: Api, bytes: Uint8Array): Promise<string> {
  const socket = net.connect(Number(new URL(api.url).port), '127.0.0.1');
  socket.on('error', () => {}); // it may be cut off
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
  });
  socket.end(bytes); // no more is sent: what is incomplete ends with it
  await once(socket, 'close');
  return text;
}

const statusesIn = (text: string) =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));

const method = fc.constantFrom('GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'DELETE', 'QUERY', 'X');
const target = fc.oneof(
  fc.constantFrom(
    '/run',
    '/health',
    '/status/a',
    '/stream/a',
    '/cancel/a',
    '/ping',
    '/v2/a/run',
    '*',
    '/%zz',
    '//',
    '/?a',
  ),
  fc.constantFrom(
    '/status/%00',
    '/status/..%2f..',
    '/run?wait=1e99',
    '/status-sync/a?wait=',
    'http://a/health',
  ),
  fc.string({ unit: 'grapheme-ascii', maxLength: 30 }).map((text) => `/${text}`),
);
const header = fc.oneof(
  fc.constantFrom(
    'Connection: close',
    'Expect: 100-continue',
    'Expect: x',
    'Content-Type: ;',
    'Upgrade: h2c',
  ),
  fc.constantFrom(
    'Transfer-Encoding: chunked',
    'Content-Encoding: gzip',
    'Content-Length: 9',
    'Accept-Version: 1',
  ),
  fc.string({ unit: 'grapheme-ascii', maxLength: 40 }),
);
const body = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.json().map((text) => Buffer.from(text)),
  fc.jsonValue().map((input) => Buffer.from(JSON.stringify({ input }))),
  fc
    .record({ input: fc.jsonValue(), webhook: fc.jsonValue(), policy: fc.jsonValue() })
    .map((job) => Buffer.from(JSON.stringify(job))),
);

/** A request, more or less, of somebody with the key or without. */
const request = (credentials: string) =>
  fc
    .tuple(method, target, fc.array(header, { maxLength: 3 }), body)
    .map(([verb, path, headers, bytes]) => {
      const lines = headers.map((line) => `${line}\r\n`).join('');
      const head = `${verb} ${path} HTTP/1.1\r\nHost: a\r\n${credentials}${lines}`;
      return Buffer.concat([Buffer.from(`${head}Content-Length: ${bytes.length}\r\n\r\n`), bytes]);
    });

describe('the local API', () => {
  it('answers any bytes with no 5xx, and goes on', async () => {
    const api = await serveApi({ handler: async () => 'done' });
    const bytes = fc.oneof(request(BEARER), request(''), fc.uint8Array({ maxLength: 300 }));
    await fc.assert(
      fc.asyncProperty(bytes, async (said) => {
        const statuses = statusesIn(await answersTo(api, said));
        expect(statuses.filter((status) => status >= 500)).toEqual([]);
      }),
      { numRuns: 500 },
    );
    expect((await api.ask('GET', '/health')).status).toBe(200);
  });

  it('gives nobody without the key anything but 4xx, and /ping', async () => {
    const api = await serveApi({ handler: async () => 'done' });
    await fc.assert(
      fc.asyncProperty(request(''), async (said) => {
        const isPing = /^(GET|HEAD) \/ping /.test(String(said));
        const allowed = isPing ? [100, 200] : [100]; // 100 asks for the body, in which a key may be
        const statuses = statusesIn(await answersTo(api, said)).filter((status) => status < 400);
        expect(statuses.filter((status) => !allowed.includes(status))).toEqual([]);
      }),
      { numRuns: 300 },
    );
    expect(api.queue.counts).toMatchObject({ completed: 0, failed: 0, inProgress: 0, inQueue: 0 });
  });
});
