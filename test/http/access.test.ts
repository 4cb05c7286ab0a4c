import { once } from 'node:events';
import net from 'node:net';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { type Api, heldHandler, KEY, serveApi } from './api.ts';

const UNAUTHORIZED = {
  status: 401,
  json: { error: 'Unauthorized', status: 401, code: 'unauthorized' },
};

const ROUTES = [
  ['GET', '/health'],
  ['GET', '/metrics'],
  ['GET', '/openapi.json'],
  ['GET', '/status/x'],
  ['POST', '/status/x'],
  ['GET', '/status-sync/x'],
  ['GET', '/stream/x'],
  ['POST', '/cancel/x'],
  ['POST', '/retry/x'],
  ['POST', '/purge-queue'],
  ['POST', '/run'],
  ['POST', '/runsync'],
  ['GET', '/v2/e/health'],
  ['POST', '/e/run'],
  ['GET', '/not-there'],
] as const;

describe('the key', () => {
  it.each(ROUTES)('is needed for %s %s', async (method, path) => {
    const api = await serveApi();
    const body = method === 'POST' ? { input: { do: 'echo' } } : undefined;
    for (const headers of [
      {},
      { authorization: '' },
      { authorization: 'Bearer' },
      { authorization: 'Bearer wrong' },
      { authorization: `Basic ${KEY}` },
      { authorization: `Bearer ${KEY}x` },
      { 'lotus-api-key': 'wrong' },
      { cookie: `lotus-api-key=${KEY}` },
    ]) {
      const answer = await api.ask(method, path, body, headers as Record<string, string>);
      expect(answer, JSON.stringify(headers)).toMatchObject(UNAUTHORIZED);
      expect(answer.headers.get('www-authenticate')).toBe('Bearer');
    }
    expect(api.queue.counts.inProgress + api.queue.counts.completed).toBe(0);
  });

  it('is not needed for /ping', async () => {
    const api = await serveApi();
    expect((await api.ask('GET', '/ping', undefined, {})).status).toBe(200);
  });

  it.each([
    ['a Bearer', { authorization: `Bearer ${KEY}` }],
    ['a bearer', { authorization: `bearer ${KEY}` }],
    ['itself, as RunPod takes it', { authorization: KEY }],
    ['its own header', { 'lotus-api-key': KEY }],
    ['its own header in capitals', { 'LOTUS-API-KEY': KEY }],
    ['its own header beside RunPod’s', { authorization: 'Bearer rpa_OTHER', 'lotus-api-key': KEY }],
  ])('may come as %s, and the job sees it', async (_how, headers) => {
    const api = await serveApi();
    const { status, json } = await api.ask(
      'POST',
      '/runsync',
      { input: {} },
      headers as Record<string, string>,
    );
    expect(status).toBe(200);
    expect(json.output.job.http.headers['lotus-api-key']).toBe(KEY);
    expect(JSON.stringify(json)).not.toContain('rpa_OTHER');
  });

  it('may come in the input, also beside a header that is for RunPod', async () => {
    const api = await serveApi();
    const body = { input: { do: 'echo', api_key: KEY } };
    for (const headers of [{}, { authorization: 'Bearer rpa_OTHER' }]) {
      const { status, json } = await api.ask(
        'POST',
        '/run',
        body,
        headers as Record<string, string>,
      );
      expect(status).toBe(200);
      expect((await api.ask('GET', `/status/${json.id}`)).status).toBe(200);
    }
  });

  it.each([
    ['another', { input: { api_key: 'wrong' } }],
    ['a list', { input: { api_key: [KEY] } }],
    ['one beside the input', { input: {}, api_key: KEY }],
    ['none in an input that is text', { input: KEY }],
    ['none in no input', {}],
    ['none in null', 'null'],
    ['none in what is no JSON', '{'],
    ['none in what is too large', { input: { text: 'x'.repeat(2000) } }],
  ])('in the body is not %s, whatever else is wrong', async (_what, body) => {
    const api = await serveApi({ limits: { maxBytes: 1000 } });
    expect(await api.ask('POST', '/run', body, {})).toMatchObject(UNAUTHORIZED);
  });

  it('is asked for before a body is read that it cannot be in', async () => {
    const api = await serveApi();
    const socket = net.connect(Number(new URL(api.url).port), '127.0.0.1');
    socket.write('POST /purge-queue HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n');
    const [answer] = await once(socket, 'data'); // and no byte of the body was sent
    expect(String(answer)).toMatch(/^HTTP\/1.1 401/);
    socket.destroy();
  });

  describe('that may be in the body', () => {
    const limits = { maxBytes: 2000, maxStrangerBytes: 3000 };
    const head = (more: string) => `POST /run HTTP/1.1\r\nHost: a\r\n${more}\r\n\r\n`;
    const sized = (bytes: number) => head(`Content-Length: ${bytes}`);
    const chunked = head('Transfer-Encoding: chunked');
    const whole = { input: { api_key: KEY, text: 'x'.repeat(1900) } };
    const inBody = { input: { api_key: KEY, text: 'x'.repeat(1400) } };
    const dial = (api: Api) => {
      const socket = net.connect(Number(new URL(api.url).port), '127.0.0.1');
      socket.on('error', () => {}); // it may be cut off
      onTestFinished(() => void socket.destroy());
      return socket;
    };
    const statusOf = async (api: Api, body: unknown, headers = {}) =>
      (await api.ask('POST', '/run', body, headers)).status;

    it('is waited for in bodies that have so many bytes together, and the first of more gets 429', async () => {
      const api = await serveApi({ limits });
      const slow = dial(api);
      const answered = once(slow, 'data');
      slow.write(`${sized(1700)}{${' '.repeat(1600)}`);
      await api.ask('GET', '/ping', undefined, {}); // so that it has come in
      expect(await statusOf(api, inBody)).toBe(200);
      const [answer] = await answered;
      expect(String(answer)).toMatch(/^HTTP\/1.1 429 .*\r\nretry-after: 1\r\n/s);
      expect(String(answer)).toContain('"status":429,"code":"busy"');
      await once(slow, 'close'); // what it would still send is not listened to
    });

    it.each([
      ['length', sized(2000)],
      ['chunks', chunked],
    ])('keeps nobody out by bodies whose %s are announced and do not come', async (_what, text) => {
      const api = await serveApi({ limits });
      const slow = Array.from({ length: 20 }, () => dial(api));
      for (const socket of slow) socket.write(text);
      await api.ask('GET', '/ping', undefined, {}); // so that it has come in
      expect(await statusOf(api, whole)).toBe(200);
      expect(slow.map(({ bytesRead }) => bytesRead)).toEqual(slow.map(() => 0)); // they may go on
    });

    it('has the room of strangers, and with the key in a header another', async () => {
      const limited = { ...limits, maxStrangerBytes: 500 };
      const api = await serveApi({ limits: limited });
      expect(await statusOf(api, inBody)).toBe(429);
      expect(await statusOf(api, inBody, { authorization: 'Bearer wrong' })).toBe(429);
      expect(await statusOf(api, inBody, { 'lotus-api-key': KEY })).toBe(200);
      const narrow = await serveApi({ limits: { ...limited, maxReadBytes: 500 } });
      expect(await statusOf(narrow, inBody, { 'lotus-api-key': KEY })).toBe(429);
    });

    it('is waited for no longer while the job runs', async () => {
      const { handler, next } = heldHandler();
      const api = await serveApi({ limits, handler });
      void api.ask('POST', '/runsync', inBody, {}).catch(() => {}); // answered by the end
      await next();
      expect(await statusOf(api, whole)).toBe(200);
    });

    it.each([
      ['is broken off', `${sized(1500)}{`, true],
      ['is broken off, in chunks', `${chunked}1\r\n{\r\n`, true],
      ['is broken off behind another', `${sized(2)}{}${sized(1500)}{`, true],
      ['has no key', `${sized(1000)}{}${' '.repeat(998)}`, false],
      ['is no JSON', `${sized(1000)}${'{'.repeat(1000)}`, false],
      ['is announced too large', sized(3001), false],
      ['turns out too large', `${chunked}bb9\r\n${'x'.repeat(3001)}\r\n`, false],
    ])('is waited for no longer when the body %s', async (_how, text, isBrokenOff) => {
      const api = await serveApi({ limits });
      for (let n = 0; n < 4; n += 1) {
        const socket = dial(api);
        const answered = once(socket, 'data');
        socket.write(text);
        if (isBrokenOff) {
          await api.ask('GET', '/ping', undefined, {}); // so that it has come in
          socket.destroy();
          answered.catch(() => {});
        } else {
          expect(String((await answered)[0])).toMatch(/^HTTP\/1.1 401/);
        }
      }
      await vi.waitFor(async () => expect(await statusOf(api, whole)).toBe(200));
    });
  });

  it('is in no answer and no label', async () => {
    const { handler, next } = heldHandler();
    const api = await serveApi({ handler });
    const asked = api.ask('POST', '/runsync', { input: { api_key: KEY } });
    (await next()).finish({ error: 'it failed', code: KEY });
    await asked;
    const { json } = await api.ask('GET', '/metrics');
    expect(json).not.toContain(KEY);
  });
});
