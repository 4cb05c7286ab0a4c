import { getEventListeners } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import type tls from 'node:tls';
import { queryObjects } from 'node:v8';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { VERSION } from '../../src/app.ts';
import { type FetchOptions, type FetchPolicy, fetchImage } from '../../src/net/fetch.ts';
import { selfSigned } from './certificate.ts';
import { failureOf, listen, PUBLIC, policyOf, Stage, sayRaw } from './stage.ts';

const IMAGE = Buffer.from('not really an image: fetching does not look at it');
/** Some kilobytes that become 50 megabytes. */
const BOMB = gzipSync(Buffer.alloc(50_000_000));
const NAMES = { 'images.example.com': [PUBLIC], 'other.example.com': ['1.1.1.1'] };
const URL_WITH_TOKEN = 'http://images.example.com/a/b.png?token=hunter2#frag';

afterEach(() => {
  vi.unstubAllEnvs();
});

/** A server that answers so, and an internet where the two names lead to it. */
async function serve(
  answer: http.RequestListener,
): Promise<{ stage: Stage; requests: http.IncomingMessage[] }> {
  const requests: http.IncomingMessage[] = [];
  const port = await listen(
    http.createServer((request, response) => {
      requests.push(request);
      answer(request, response);
    }),
  );
  return { stage: new Stage(port, { ...NAMES }), requests };
}

async function serveRaw(say: (socket: net.Socket, request: string) => void) {
  const { port, requests } = await sayRaw(say);
  return { stage: new Stage(port, { ...NAMES }), requests };
}

function fetchFrom(
  network: Stage,
  url = URL_WITH_TOKEN,
  policy: FetchPolicy = policyOf(),
  options: FetchOptions = {},
) {
  return fetchImage(url, policy, { network, ...options });
}

describe('fetchImage', () => {
  it('gives the bytes of the answer', async () => {
    const { stage } = await serve((_request, response) => response.end(IMAGE));
    expect(await fetchFrom(stage)).toEqual(IMAGE);
    expect(stage.dialled).toEqual([{ addresses: [PUBLIC], port: 80 }]);
  });

  it('asks as a plain stranger, for path and query, by the name', async () => {
    const { stage, requests } = await serve((_request, response) => response.end(IMAGE));
    await fetchFrom(stage);
    expect(requests[0]).toMatchObject({ method: 'GET', url: '/a/b.png?token=hunter2' });
    expect(requests[0]?.headers).toEqual({
      host: 'images.example.com',
      connection: expect.any(String),
      'user-agent': `lotus-worker/${VERSION}`,
      accept: 'image/png, image/jpeg, image/webp, */*;q=0.1',
      'accept-encoding': 'identity',
    });
  });

  it('says the port in the host, and connects to it', async () => {
    const { stage, requests } = await serve((_request, response) => response.end(IMAGE));
    await fetchFrom(stage, 'http://images.example.com.:9000/a');
    expect(requests[0]?.headers.host).toBe('images.example.com:9000');
    expect(stage.dialled).toEqual([{ addresses: [PUBLIC], port: 9000 }]);
  });

  it('takes a public address without a name', async () => {
    const { stage } = await serve((_request, response) => response.end(IMAGE));
    expect(await fetchFrom(stage, 'http://[2606:4700:4700::1111]/a')).toEqual(IMAGE);
    expect(stage.resolved).toEqual([]);
    expect(stage.dialled).toEqual([{ addresses: ['2606:4700:4700::1111'], port: 80 }]);
  });

  it('takes an empty body, and chunks', async () => {
    const { stage } = await serve((request, response) => {
      if (request.url === '/chunks') for (const byte of IMAGE) response.write(Buffer.of(byte));
      response.end();
    });
    expect(await fetchFrom(stage, 'http://images.example.com/')).toEqual(Buffer.alloc(0));
    expect(await fetchFrom(stage, 'http://images.example.com/chunks')).toEqual(IMAGE);
  });

  it('keeps no connection for the next request, also to the same host', async () => {
    const { stage, requests } = await serve((_request, response) => response.end(IMAGE));
    await fetchFrom(stage);
    await fetchFrom(stage);
    await fetchFrom(stage, 'http://other.example.com/');
    expect(stage.dialled).toHaveLength(3);
    expect(new Set(requests.map(({ socket }) => socket)).size).toBe(3);
  });

  it('uses no proxy of the environment', async () => {
    const { stage } = await serve((_request, response) => response.end(IMAGE));
    for (const name of ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY', 'ALL_PROXY']) {
      vi.stubEnv(name, 'http://127.0.0.1:9');
    }
    vi.stubEnv('NODE_USE_ENV_PROXY', '1');
    expect(await fetchFrom(stage)).toEqual(IMAGE);
  });
});

describe('a name', () => {
  it('is resolved once, and the connection goes to what was looked at', async () => {
    const { stage } = await serve((_request, response) => response.end(IMAGE));
    const answers = [[PUBLIC], ['127.0.0.1'], ['127.0.0.1']];
    stage.names['images.example.com'] = () => answers.shift() ?? [];
    expect(await fetchFrom(stage)).toEqual(IMAGE);
    expect(stage.resolved).toEqual(['images.example.com']);
    expect(stage.dialled).toEqual([{ addresses: [PUBLIC], port: 80 }]);
  });

  it('is looked at anew for a redirect to itself', async () => {
    const { stage, requests } = await serve((_request, response) =>
      response.writeHead(302, { location: '/again' }).end(),
    );
    const answers = [[PUBLIC], ['10.0.0.1']];
    stage.names['images.example.com'] = () => answers.shift() ?? [];
    expect(await failureOf(fetchFrom(stage))).toMatchObject({ code: 'fetch_refused' });
    expect(stage.dialled).toHaveLength(1);
    expect(requests).toHaveLength(1);
  });

  it.each([
    [['10.0.0.1']],
    [[PUBLIC, '10.0.0.1']],
    [['::1', PUBLIC]],
    [['169.254.169.254']],
    [['::ffff:8.8.8.8']],
    [['fe80::1%eth0']],
    [['nonsense']],
  ])('is refused with the addresses %j, and nothing is connected to', async (addresses) => {
    const stage = new Stage(0, { 'images.example.com': addresses });
    const error = await failureOf(fetchFrom(stage));
    expect(error.code).toBe('fetch_refused');
    for (const address of addresses) expect(error.message).not.toContain(address);
    expect(stage.dialled).toEqual([]);
  });

  it.each([
    ['this machine’s own', `${PUBLIC}/32`],
    ['of the network that this machine is in', '93.184.0.9/16'],
  ])('is refused with a public address that is %s', async (_whose, network) => {
    const { stage } = await serve((_request, response) => response.end(IMAGE));
    stage.networks = ['127.0.0.1/8', network];
    for (const url of [URL_WITH_TOKEN, `http://${PUBLIC}/`]) {
      const error = await failureOf(fetchFrom(stage, url));
      expect(error.code).toBe('fetch_refused');
      expect(error.message).toContain('is not on the public internet');
    }
    expect(stage.dialled).toEqual([]);
    const policy = policyOf({ allowText: `${PUBLIC}/32` });
    expect(await fetchFrom(stage, URL_WITH_TOKEN, policy)).toEqual(IMAGE);
  });

  it('with thousands of addresses does not fill the log', async () => {
    const addresses = Array.from({ length: 5000 }, (_, n) => `10.0.${n >> 8}.${n & 255}`);
    const stage = new Stage(0, { 'images.example.com': addresses });
    const { cause } = await failureOf(fetchFrom(stage));
    expect(String(cause)).toMatch(/^Error: images.example.com is at 10.0.0.0, .{1,100}$/);
  });

  it('that is not known, or has no address, is a failure', async () => {
    const stage = new Stage(0, { 'empty.example.com': [] });
    const unknown = await failureOf(fetchFrom(stage, 'http://unknown.example.com/'));
    expect(unknown.code).toBe('fetch_failed');
    expect(unknown.message).toBe(
      'image_url http://unknown.example.com/ cannot be fetched: its host is not known (ENOTFOUND).',
    );
    const empty = await failureOf(fetchFrom(stage, 'http://empty.example.com/'));
    expect(empty.code).toBe('fetch_failed');
  });

  it('that the operator has allowed may have a private address, and any port', async () => {
    const { stage } = await serve((_request, response) => response.end(IMAGE));
    stage.names['images.internal'] = ['10.1.2.3'];
    const policy = policyOf({ allowText: 'images.internal' });
    expect(await fetchFrom(stage, 'http://images.internal:81/a', policy)).toEqual(IMAGE);
    expect(stage.dialled).toEqual([{ addresses: ['10.1.2.3'], port: 81 }]);
  });

  it('may have an address of a network that the operator has allowed', async () => {
    const { stage } = await serve((_request, response) => response.end(IMAGE));
    stage.names['images.example.com'] = ['10.1.2.3'];
    const policy = policyOf({ allowText: '10.1.0.0/16' });
    expect(await fetchFrom(stage, URL_WITH_TOKEN, policy)).toEqual(IMAGE);
  });
});

describe('a redirect', () => {
  const to = (location: string, status = 302) => ({ status, location });
  async function redirecting(steps: Record<string, { status: number; location: string }>) {
    return await serve((request, response) => {
      const step = steps[`${request.headers.host}${request.url}`];
      if (!step) response.end(IMAGE);
      else response.writeHead(step.status, { location: step.location }).end('moved');
    });
  }
  const START = 'http://images.example.com/1';

  it.each([301, 302, 303, 307, 308])(
    'of status %i is followed, to another host too',
    async (status) => {
      const { stage, requests } = await redirecting({
        'images.example.com/1': to('//other.example.com/a?b=c', status),
      });
      expect(await fetchFrom(stage, START)).toEqual(IMAGE);
      expect(requests[1]).toMatchObject({ method: 'GET', url: '/a?b=c' });
      expect(requests[1]?.headers.host).toBe('other.example.com');
      expect(requests[1]?.headers).not.toHaveProperty('referer');
    },
  );

  it.each([
    ['2', '/2'],
    ['/x/../2', '/2'],
    ['?q', '/1?q'],
    ['http://images.example.com/2#frag', '/2'],
  ])('to %s is relative to where it comes from', async (location, path) => {
    const { stage, requests } = await redirecting({ 'images.example.com/1': to(location) });
    expect(await fetchFrom(stage, START)).toEqual(IMAGE);
    expect(requests[1]?.url).toBe(path);
  });

  it('is followed five times and no more', async () => {
    const steps = Object.fromEntries(
      [1, 2, 3, 4, 5, 6].map((n) => [`images.example.com/${n}`, to(`/${n + 1}`)]),
    );
    const { stage, requests } = await redirecting(steps);
    expect(await fetchFrom(stage, 'http://images.example.com/2')).toEqual(IMAGE);
    expect(requests).toHaveLength(6);
    const error = await failureOf(fetchFrom(stage, START));
    expect(error.code).toBe('fetch_refused');
    expect(error.message).toContain('redirects more than 5 times');
  });

  it('that leads back ends too', async () => {
    const { stage, requests } = await redirecting({
      'images.example.com/1': to('http://other.example.com/'),
      'other.example.com/': to(START),
    });
    expect(await failureOf(fetchFrom(stage, START))).toMatchObject({ code: 'fetch_refused' });
    expect(requests).toHaveLength(6);
  });

  it.each([
    'http://127.0.0.1/secret-path',
    'http://2130706433/secret-path',
    'http://169.254.169.254/secret-path',
    '//localhost/secret-path',
    'http://[::1]:8000/secret-path',
    'http://internal.example.com/secret-path',
    'file:///secret-path',
    'data:text/plain,secret-path',
    'http://user:secret-path@other.example.com/',
    'http://other.example.com:22/secret-path',
    'http://',
  ])('to %s is refused, and does not say where it led', async (location) => {
    const { stage, requests } = await redirecting({ 'images.example.com/1': to(location) });
    stage.names['internal.example.com'] = ['192.168.1.1'];
    const error = await failureOf(fetchFrom(stage, `${START}?token=hunter2`.replace('?', '#?')));
    expect(error.code).toBe('fetch_refused');
    expect(error.message).toMatch(
      /^image_url http:\/\/images.example.com\/1 redirects, and the new address /,
    );
    expect(error.message).not.toContain('secret-path');
    expect(requests).toHaveLength(1);
    expect(stage.dialled).toHaveLength(1);
  });

  it.each([300, 304])('is not what status %i means', async (status) => {
    const { stage } = await redirecting({ 'images.example.com/1': to('/2', status) });
    const error = await failureOf(fetchFrom(stage, START));
    expect(error.code).toBe('fetch_failed');
    expect(error.message).toContain(`answered ${status}`);
  });

  it.each([
    ['two places', ['/2', '/3'], 'fetch_failed'],
    [
      'a place that fills the headers',
      `http://other.example.com/${'a'.repeat(12_000)}`,
      'fetch_refused',
    ],
    ['a place with a line break in its host', 'http://other.exam%0d%0aple.com/', 'fetch_refused'],
  ])('to %s is not followed', async (_where, location, code) => {
    const { stage, requests } = await serve((_request, response) =>
      response.setHeader('location', location).writeHead(302).end(),
    );
    expect(await failureOf(fetchFrom(stage, START))).toMatchObject({ code });
    expect(requests).toHaveLength(1);
  });

  it('that does not say where to is a failure', async () => {
    const { stage } = await serve((_request, response) => response.writeHead(302).end());
    expect(await failureOf(fetchFrom(stage, START))).toMatchObject({ code: 'fetch_failed' });
  });

  it('takes no cookie along', async () => {
    const { stage, requests } = await serve((request, response) => {
      if (request.url === '/2') response.end(IMAGE);
      else response.writeHead(302, { location: '/2', 'set-cookie': 'a=b; Path=/' }).end();
    });
    await fetchFrom(stage, START);
    expect(requests[1]?.headers).not.toHaveProperty('cookie');
  });

  it('does not wait for its body', async () => {
    const { stage } = await serve((request, response) => {
      if (request.url === '/2') response.end(IMAGE);
      else response.writeHead(302, { location: '/2' }).write('and it never ends');
    });
    expect(await fetchFrom(stage, START)).toEqual(IMAGE);
  });
});

describe('an answer', () => {
  it.each([201, 204, 206, 400, 401, 403, 404, 418, 429, 500, 503])(
    'of status %i is a failure that tells nothing but the status',
    async (status) => {
      const { stage } = await serve((_request, response) => {
        response.writeHead(status, { 'x-secret': 'secret-header' }).end('secret-body');
      });
      const error = await failureOf(fetchFrom(stage));
      expect(error.code).toBe('fetch_failed');
      expect(error.message).toContain(`answered ${status}`);
      expect(`${error.message} ${error.cause}`).not.toContain('secret');
    },
  );

  it('of another protocol is a failure that does not repeat it', async () => {
    const { stage } = await serveRaw((socket) => socket.end('SSH-2.0-secret-banner\r\n'));
    const error = await failureOf(fetchFrom(stage));
    expect(error.code).toBe('fetch_failed');
    expect(
      JSON.stringify([error.message, error.cause, { ...(error.cause as Error) }]),
    ).not.toContain('secret');
    expect(String((error.cause as Error).stack)).not.toContain('secret');
  });

  it.each([
    ['with a body longer than it said', 'Content-Length: 3\r\n\r\nabcdef', 'abc'],
    ['with a body that ends with the connection', '\r\nabcdef', 'abcdef'],
  ])('%s is cut there', async (_how, rest, body) => {
    const { stage } = await serveRaw((socket) => socket.end(`HTTP/1.1 200 OK\r\n${rest}`));
    expect((await fetchFrom(stage)).toString()).toBe(body);
  });

  it.each([
    ['with a body shorter than it said', 'Content-Length: 10\r\n\r\nabcdef'],
    ['whose chunks break off', 'Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n'],
    ['that breaks off in a chunk', 'Transfer-Encoding: chunked\r\n\r\nff\r\nabcdef'],
    ['with a chunk of no size', 'Transfer-Encoding: chunked\r\n\r\n-1\r\nabc'],
    ['with a chunk of every size', `Transfer-Encoding: chunked\r\n\r\n${'f'.repeat(17)}\r\nabc`],
    ['with a length beyond numbers', `Content-Length: ${'9'.repeat(30)}\r\n\r\nabc`],
    ['with a length in another notation', 'Content-Length: 1e1\r\n\r\nabcdefghij'],
    ['with a signed length', 'Content-Length: +3\r\n\r\nabc'],
    ['with two lengths', 'Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd'],
    [
      'with a length and chunks',
      'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['with a length that is none', 'Content-Length: -1\r\n\r\nabc'],
    ['with a bad header', 'X-A\0: b\r\n\r\nabc'],
    ['with headers without end', `${'X-A: b\r\n'.repeat(5000)}\r\n`],
    ['with one long header', `X-A: ${'b'.repeat(40_000)}\r\n\r\n`],
    ['that breaks off in its headers', 'X-A: b\r\n'],
  ])('%s is a failure', async (_how, rest) => {
    const { stage } = await serveRaw((socket) => socket.end(`HTTP/1.1 200 OK\r\n${rest}`));
    expect(await failureOf(fetchFrom(stage))).toMatchObject({ code: 'fetch_failed' });
  });

  it('without status and headers, as HTTP/0.9 has it, is a failure', async () => {
    const { stage } = await serveRaw((socket) => socket.end(IMAGE));
    const error = await failureOf(fetchFrom(stage));
    expect(error.message).toContain('what it sends is not right HTTP (HTTPParserError)');
  });

  it('that changes the protocol is a failure', async () => {
    const { stage } = await serveRaw((socket) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n'),
    );
    expect(await failureOf(fetchFrom(stage))).toMatchObject({ code: 'fetch_failed' });
  });

  it('that never comes since the connection is closed is a failure', async () => {
    const { stage } = await serveRaw((socket) => socket.destroy());
    expect(await failureOf(fetchFrom(stage))).toMatchObject({ code: 'fetch_failed' });
  });

  it.each(['gzip', 'br', 'deflate', 'zstd', 'GZIP', 'identity, gzip', 'x-unheard-of'])(
    'that is encoded with %s is refused',
    async (encoding) => {
      const { stage } = await serve((_request, response) => {
        response.writeHead(200, { 'content-encoding': encoding }).end(BOMB);
      });
      const error = await failureOf(fetchFrom(stage));
      expect(error.code).toBe('fetch_refused');
      expect(error.message).toContain('compressed');
    },
  );

  it('that is a gzip bomb without saying so stays as small as it came', async () => {
    const { stage } = await serve((_request, response) => response.end(BOMB));
    expect((await fetchFrom(stage)).length).toBe(BOMB.length);
  });
});

describe('the size limit', () => {
  const policy = policyOf({ maxBytes: 1000 });

  it('admits a body of just as many bytes', async () => {
    const { stage } = await serve((_request, response) => response.end(Buffer.alloc(1000)));
    expect((await fetchFrom(stage, URL_WITH_TOKEN, policy)).length).toBe(1000);
  });

  it('refuses one that says it is larger before reading it', async () => {
    const { stage } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 1001 }).flushHeaders(); // and never sends it
    });
    const error = await failureOf(fetchFrom(stage, URL_WITH_TOKEN, policy));
    expect(error.code).toBe('fetch_refused');
    expect(error.message).toContain('larger than 1000 bytes');
  });

  it.each([
    ['chunks without end', 'Transfer-Encoding: chunked\r\n\r\n', `64\r\n${'a'.repeat(100)}\r\n`],
    ['bytes without end', '\r\n', 'a'.repeat(100)],
  ])('ends %s', async (_what, head, piece) => {
    let sent = 0;
    const { stage } = await serveRaw((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\n${head}`);
      const timer = setInterval(() => {
        sent += 1;
        socket.write(piece);
      }, 1);
      socket.on('close', () => clearInterval(timer));
    });
    const error = await failureOf(fetchFrom(stage, URL_WITH_TOKEN, policy));
    expect(error.code).toBe('fetch_refused');
    expect(sent).toBeGreaterThan(9);
  });
});

describe('a server that is slow', () => {
  const SILENCE = { silenceMs: 200 };
  const quick = policyOf({ timeoutMs: 400 });

  const drip = (socket: net.Socket, head: string, piece: string) => {
    socket.write(head);
    const timer = setInterval(() => socket.write(piece), 20);
    socket.on('close', () => clearInterval(timer));
  };

  it.each([
    ['says nothing', (_socket: net.Socket) => {}],
    ['stops in its headers', (socket: net.Socket) => socket.write('HTTP/1.1 200 OK\r\nX-A')],
    [
      'stops before its body',
      (socket: net.Socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'),
    ],
    [
      'stops in its body',
      (socket: net.Socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'),
    ],
  ])('and %s is given up for its silence', async (_what, say) => {
    const { stage } = await serveRaw(say);
    const error = await failureOf(fetchFrom(stage, URL_WITH_TOKEN, policyOf(), SILENCE));
    expect(error.code).toBe('fetch_failed');
    expect(error.message).toMatch(/does not answer in time \(UND_ERR_(HEADERS|BODY)_TIMEOUT\)/);
  });

  it.each([
    ['headers', 'HTTP/1.1 200 OK\r\n', 'X-A: b\r\n'],
    [
      'informational answers',
      'HTTP/1.1 103 Early Hints\r\n\r\n',
      'HTTP/1.1 103 Early Hints\r\n\r\n',
    ],
    ['body', 'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n', 'a'],
    ['chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '1\r\na\r\n'],
  ])('and drips its %s is given up at the end of the time for all', async (_what, head, piece) => {
    const { stage } = await serveRaw((socket) => drip(socket, head, piece));
    const error = await failureOf(fetchFrom(stage, URL_WITH_TOKEN, quick));
    expect(error.code).toBe('fetch_failed');
    expect(error.message).toContain('took longer than 0.4 s');
  });

  it('in redirects has no more time for that', async () => {
    const { stage } = await serve((_request, response) => {
      setTimeout(() => response.writeHead(302, { location: '/again' }).end(), 100);
    });
    const error = await failureOf(fetchFrom(stage, URL_WITH_TOKEN, quick));
    expect(error.message).toContain('took longer than 0.4 s');
  });

  it('in giving its name is given up as well', async () => {
    const stage = new Stage(0, {});
    stage.resolve = (_name: string, _trusted?: boolean, signal?: AbortSignal) =>
      new Promise((_resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason));
      });
    expect((await failureOf(fetchFrom(stage, URL_WITH_TOKEN, quick))).message).toContain(
      'took longer',
    );
  });

  it('to speak TLS is given up as well', async () => {
    const { stage } = await serveRaw(() => {});
    const error = await failureOf(
      fetchFrom(stage, 'https://images.example.com/', policyOf(), SILENCE),
    );
    expect(error.code).toBe('fetch_failed');
  });

  it('is not waited for when the job is cancelled', async () => {
    const stop = new AbortController();
    const { stage, requests } = await serveRaw(() => stop.abort());
    const error = await failureOf(
      fetchFrom(stage, URL_WITH_TOKEN, policyOf(), { signal: stop.signal }),
    );
    expect(error.code).toBe('cancelled');
    expect(requests).toHaveLength(1);
  });

  it('is not asked when the job was cancelled before', async () => {
    const { stage } = await serve((_request, response) => response.end(IMAGE));
    const signal = AbortSignal.abort();
    const error = await failureOf(fetchFrom(stage, URL_WITH_TOKEN, policyOf(), { signal }));
    expect(error.code).toBe('cancelled');
    expect(stage.resolved).toEqual([]);
  });
});

describe('what was fetched', () => {
  it.each([200, 404])(
    'leaves no signal behind, nor a listener on that of its job: %i',
    async (status) => {
      const { stage } = await serve((_request, response) => response.writeHead(status).end(IMAGE));
      const { signal } = new AbortController();
      const fetchThree = async () => {
        for (const _ of [1, 2, 3]) {
          await Promise.allSettled([fetchFrom(stage, URL_WITH_TOKEN, policyOf(), { signal })]);
        }
      };
      await fetchThree();
      const before = await signals();
      await fetchThree();
      expect(await signals()).toBeLessThanOrEqual(before);
      expect(getEventListeners(signal, 'abort')).toEqual([]);
    },
  );
});

/** How many there are that something holds on to. */
async function signals(): Promise<number> {
  await turn(); // what a WeakRef was asked for stays until then
  return queryObjects(AbortSignal, { format: 'count' });
}

describe('TLS', () => {
  let own: { key: string; cert: string };
  beforeAll(async () => {
    own = await selfSigned('images.example.com');
  });

  async function serveTls() {
    const names: (string | false | null | undefined)[] = [];
    const server = https.createServer(
      { ...own, ALPNProtocols: ['h2', 'http/1.1'] },
      (request, response) => {
        names.push((request.socket as tls.TLSSocket & { servername: string }).servername);
        if (request.url === '/down')
          response.writeHead(302, { location: 'http://other.example.com/' });
        response.end(IMAGE);
      },
    );
    return { stage: new Stage(await listen(server), { ...NAMES }), names };
  }

  it('is spoken to the address with the name', async () => {
    const { stage, names } = await serveTls();
    const body = await fetchFrom(stage, 'https://images.example.com/a', policyOf(), {
      ca: own.cert,
    });
    expect(body).toEqual(IMAGE);
    expect(names).toEqual(['images.example.com']);
    expect(stage.dialled).toEqual([{ addresses: [PUBLIC], port: 443 }]);
  });

  it.each([
    ['signed by itself', 'https://images.example.com/', false],
    ["another name's", 'https://other.example.com/', true],
    ["a name's for an address", `https://${PUBLIC}/`, true],
  ])('is refused with a certificate that is %s', async (_whose, url, isTrusted) => {
    const { stage, names } = await serveTls();
    const options = isTrusted ? { ca: own.cert } : {};
    const error = await failureOf(fetchFrom(stage, url, policyOf(), options));
    expect(error.code).toBe('fetch_failed');
    expect(error.message).toContain('its certificate or its TLS is not right');
    expect(names).toEqual([]);
  });

  it('is refused so also where the environment would have it not', async () => {
    const { stage } = await serveTls();
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    const error = await failureOf(fetchFrom(stage, 'https://images.example.com/'));
    expect(error.code).toBe('fetch_failed');
  });

  it('is not left again by a redirect', async () => {
    const { stage } = await serveTls();
    const error = await failureOf(
      fetchFrom(stage, 'https://images.example.com/down', policyOf(), { ca: own.cert }),
    );
    expect(error.code).toBe('fetch_refused');
    expect(error.message).toContain('is http: where the one before was https:');
    expect(stage.dialled).toHaveLength(1);
  });

  it('with who does not speak it is a failure', async () => {
    const { stage } = await serve((_request, response) => response.end(IMAGE));
    const error = await failureOf(fetchFrom(stage, 'https://images.example.com/'));
    expect(error.code).toBe('fetch_failed');
  });
});

describe('an error', () => {
  it('never has the token of a query', async () => {
    const { stage } = await serveRaw((socket) => socket.destroy());
    const urls = [
      URL_WITH_TOKEN,
      'http://unknown.example.com/?token=hunter2',
      'http://127.0.0.1/?token=hunter2',
      'http://images.example.com:22/?token=hunter2',
      'http://a b/?token=hunter2',
      'https://images.example.com/?token=hunter2',
    ];
    for (const url of urls) {
      const error = await failureOf(fetchFrom(stage, url));
      const cause = error.cause as Error | undefined;
      expect(`${error.stack} ${cause?.stack} ${JSON.stringify(cause)}`).not.toContain('hunter2');
    }
  });
});
