import { once } from 'node:events';
import net from 'node:net';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { type Api, KEY, serveApi } from './api.ts';

const BEARER = `Authorization: Bearer ${KEY}\r\n`;

/** A connection of somebody's. */
async function dial(api: Api): Promise<net.Socket> {
  const socket = net.connect(Number(new URL(api.url).port), '127.0.0.1');
  socket.on('error', () => {}); // it may be cut off
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** What is answered to these bytes, up to the end of the answer's headers. */
async function answerTo(socket: net.Socket, text: string | Buffer): Promise<string> {
  socket.write(text);
  const [answer] = await once(socket, 'data');
  return String(answer);
}

const get = (path: string, headers = '') => `GET ${path} HTTP/1.1\r\nHost: a\r\n${headers}\r\n`;
const post = (body: string | Buffer, headers = BEARER): Buffer =>
  Buffer.concat([
    Buffer.from(
      `POST /run HTTP/1.1\r\nHost: a\r\n${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n`,
    ),
    Buffer.from(body),
  ]);

describe('the server', () => {
  it('listens on loopback unless told otherwise', async () => {
    expect((await serveApi()).url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  });

  it('tells nothing of a path that cannot be decoded to whoever has no key', async () => {
    const api = await serveApi();
    for (const path of ['/%zz', '/status/%ff', '/%', '/status/%c0%ae%c0%ae']) {
      const answer = await answerTo(await dial(api), get(path));
      expect(answer).toMatch(/^HTTP\/1.1 401 /);
      expect(answer).toContain('{"error":"Unauthorized","status":401,"code":"unauthorized"}');
      const told = await answerTo(await dial(api), get(path, BEARER));
      expect(told).toMatch(/^HTTP\/1.1 400 /);
      expect(told).toContain('"status":400,"code":"invalid_request"');
      expect(told).not.toContain(path);
    }
  });

  it('answers requests that are sent without waiting, each for itself', async () => {
    const api = await serveApi();
    const socket = await dial(api);
    let text = '';
    socket.on('data', (data) => (text += data));
    socket.write(
      `${get('/health')}${get('/ping')}${get('/health', BEARER)}${get('/nothing', 'Connection: close\r\n')}`,
    );
    await once(socket, 'close');
    const statuses = [...text.matchAll(/HTTP\/1.1 (\d+)/g)].map(([, status]) => status);
    expect(statuses).toEqual(['401', '200', '200', '401']);
  });
});

describe('connections', () => {
  const limits = { maxConnections: 4, headersMs: 60_000, idleMs: 60_000 };

  it('that say nothing make room for others, the oldest first', async () => {
    const api = await serveApi({ limits });
    const silent: net.Socket[] = [];
    for (let n = 0; n < 4; n += 1) silent.push(await dial(api));
    const gone = once(silent[0] as net.Socket, 'close');
    expect(await answerTo(await dial(api), get('/health', BEARER))).toMatch(/^HTTP\/1.1 200 /);
    await gone;
    expect(await answerTo(silent[1] as net.Socket, get('/ping'))).toMatch(/^HTTP\/1.1 200 /);
  });

  it.each([
    ['a header', get('/health', BEARER)],
    ['the body', post(JSON.stringify({ input: { api_key: KEY, do: 'echo' } }), '')],
  ])('stay where the key was shown in %s, whoever comes after', async (_where, request) => {
    const api = await serveApi({ limits });
    const known = await dial(api);
    expect(await answerTo(known, request as string)).toMatch(/^HTTP\/1.1 200 /);
    for (let n = 0; n < 12; n += 1) {
      const socket = await dial(api);
      if (n % 2 === 0)
        socket.write(get('/ping')); // which takes no key, and shows none
      else socket.write(get('/health', 'Authorization: Bearer wrong\r\n'));
    }
    expect(await answerTo(known, get('/health', BEARER))).toMatch(/^HTTP\/1.1 200 /);
  });

  it('are no more where all have shown the key', async () => {
    const api = await serveApi({ limits });
    const known: net.Socket[] = [];
    for (let n = 0; n < 4; n += 1) {
      const socket = await dial(api);
      await answerTo(socket, get('/health', BEARER));
      known.push(socket);
    }
    const late = net.connect(Number(new URL(api.url).port), '127.0.0.1');
    late.on('error', () => {}); // it is cut off
    await once(late, 'close');
    for (const socket of known) {
      expect(await answerTo(socket, get('/health', BEARER))).toMatch(/^HTTP\/1.1 200 /);
    }
  });
});

describe('a body in chunks of one byte', () => {
  const CHUNKED = 'POST /run HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n';
  const inBytes = (text: string) => text.replaceAll(/./g, '1\r\n$&\r\n');

  it('is a body like any while it is short', async () => {
    const api = await serveApi();
    const said = inBytes(
      JSON.stringify({ input: { api_key: KEY, do: 'echo', text: 'x'.repeat(9000) } }),
    );
    const answer = await answerTo(await dial(api), `${CHUNKED}\r\n${said}0\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1.1 200 /);
  });

  it('is refused when it is long: each takes hundreds, and time', async () => {
    const api = await serveApi();
    const answer = await answerTo(
      await dial(api),
      `${CHUNKED}${BEARER}\r\n${inBytes(' '.repeat(150_000))}`,
    );
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(answer).toContain('chunks of a few bytes');
  });
});

describe('an answer', () => {
  it('that is not read does not stay in memory', async () => {
    const handler = async () => 'x'.repeat(9_000_000); // more than the machine's buffers take
    const api = await serveApi({ handler, limits: { stallMs: 200 } });
    const socket = (await dial(api)).pause();
    const body = '{"input":{}}';
    socket.write(
      `POST /runsync HTTP/1.1\r\nHost: a\r\n${BEARER}Content-Length: ${body.length}\r\n\r\n${body}`,
    );
    await vi.waitFor(() => expect(api.queue.counts.completed).toBe(1));
    const look = () => {
      socket.write('\r\n'); // of whose connection is closed, it fails
      expect(socket.destroyed).toBe(true);
    };
    await vi.waitFor(look, { interval: 1000, timeout: 60_000 });
  });
});

describe('a body', () => {
  const empty = '[],';
  const NESTED = 20_000;

  it.each([
    ['millions of values', `{"input":[${empty.repeat(1_000_000)}[]]}`, 'more than 10000 values'],
    ['lists in lists', `{"input":${'['.repeat(NESTED)}${']'.repeat(NESTED)}}`, 'more than 10000'],
    [
      'objects in objects',
      `{"input":${'{"a":'.repeat(NESTED)}1${'}'.repeat(NESTED)}}`,
      'more than',
    ],
    [
      'bytes that are no UTF-8',
      Buffer.from('{"input":{"a":"\xff\xfe"}}', 'latin1'),
      'not JSON in UTF-8',
    ],
    ['an overlong slash', Buffer.from('{"input":{"a":"\xc0\xaf"}}', 'latin1'), 'not JSON in UTF-8'],
    ['UTF-16', Buffer.from('{"input":{}}', 'utf16le'), 'not JSON in UTF-8'],
    ['gzip', Buffer.from([0x1f, 0x8b, 8, 0]), 'not JSON in UTF-8'],
    ['two values', '{"input":{}}{"input":{}}', 'not JSON in UTF-8'],
    ['a number without end', '{"input":{},"policy":{"ttl":1e999}}', 'policy.ttl'],
  ])('of %s is refused, and to who has no key the same as any', async (_what, body, text) => {
    const api = await serveApi();
    const answer = await answerTo(await dial(api), post(body));
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(answer).toContain(text);
    expect(answer.length).toBeLessThan(1000);
    expect(await answerTo(await dial(api), post(body, ''))).toMatch(/^HTTP\/1.1 401 /);
    expect(api.queue.counts).toMatchObject({ inQueue: 0, inProgress: 0, completed: 0 });
  });

  it.each([
    ['a field __proto__', '{"input":{},"__proto__":{"webhook":5,"policy":{"ttl":"x"},"http":1}}'],
    ['a field constructor', '{"input":{},"constructor":{"prototype":{"webhook":5}}}'],
    ['a field twice, of which the last counts', '{"input":null,"input":{}}'],
    ['a byte order mark', '\ufeff{"input":{}}'],
    ['half a surrogate pair', '{"input":{"a":"\\ud800"}}'],
    ['zero characters', '{"input":{"a":"\\u0000"}}'],
  ])('with %s is a job like any, and nobody inherits from it', async (_what, body) => {
    const api = await serveApi({
      handler: async (job) => [
        Object.getPrototypeOf(job) === Object.prototype,
        job.webhook ?? null,
      ],
    });
    const { status, json } = await api.ask('POST', '/runsync', body);
    expect([status, json.output]).toEqual([200, [true, null]]);
    expect(({} as { webhook?: unknown }).webhook).toBeUndefined();
  });

  it.each(['multipart/form-data', 'text/xml', 'application/json; charset=utf-16', 'image/png'])(
    'is JSON although it is said to be %s',
    async (type) => {
      const api = await serveApi();
      const headers = `${BEARER}Content-Type: ${type}\r\n`;
      const answer = await answerTo(await dial(api), post('{"input":{"do":"echo"}}', headers));
      expect(answer).toMatch(/^HTTP\/1.1 200 /);
    },
  );

  it.each([
    ['a negative length', 'Content-Length: -1\r\n'],
    ['two lengths', 'Content-Length: 2\r\nContent-Length: 3\r\n'],
    ['a length and chunks', 'Content-Length: 2\r\nTransfer-Encoding: chunked\r\n'],
    ['a coding that is none of ours', 'Transfer-Encoding: gzip\r\n'],
    [
      'much behind the size of a chunk',
      `Transfer-Encoding: chunked\r\n\r\n1;${'a'.repeat(17_000)}`,
    ],
    ['headers by the thousand', 'X:\r\n'.repeat(10_000)],
  ])('with %s is refused by a 4xx, and its connection closed', async (_what, rest) => {
    const api = await serveApi();
    const socket = await dial(api);
    const closed = once(socket, 'close');
    const answer = await answerTo(socket, `POST /run HTTP/1.1\r\nHost: a\r\n${rest}\r\n{}`);
    expect(answer).toMatch(/^HTTP\/1.1 4\d\d /);
    await closed;
    expect((await api.ask('GET', '/health')).status).toBe(200);
  });
});
