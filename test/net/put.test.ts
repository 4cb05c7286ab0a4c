import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { describe, expect, it } from 'vitest';
import { checkPutUrl, putBytes } from '../../src/net/put.ts';
import { selfSigned } from './certificate.ts';
import { failureOf, listen, NO_NETWORK, PUBLIC, policyOf, Stage } from './stage.ts';

const HOST = 'store.example.com';
const SIGNED = `https://${HOST}/maps/a.png?signature=hunter2`;
const ALLOWED = policyOf({ allowText: HOST });

interface Seen {
  method?: string | undefined;
  url?: string | undefined;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
}

/** A storage that answers with a status. */
function answering(status: number, seen: Seen[], headers: http.OutgoingHttpHeaders = {}) {
  return async (request: http.IncomingMessage, response: http.ServerResponse) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece);
    const { method, url, headers: came } = request;
    seen.push({ method, url, headers: came, body: Buffer.concat(pieces) });
    response.writeHead(status, headers).end('secret answer');
  };
}

const put = (url: string, body = Buffer.from('picture')) => ({
  url,
  bytes: body,
  headers: { 'content-type': 'image/png' },
});

describe('putBytes', () => {
  it('puts bytes to the address that was looked at, by TLS', async () => {
    const certificate = await selfSigned(HOST);
    const seen: Seen[] = [];
    const stage = new Stage(await listen(https.createServer(certificate, answering(200, seen))), {
      [HOST]: [PUBLIC],
    });
    const options = { network: stage, ca: certificate.cert };
    expect(await putBytes(put(SIGNED), 'upload_url', policyOf(), options)).toBe(200);
    expect(seen).toMatchObject([
      { method: 'PUT', url: '/maps/a.png?signature=hunter2', body: Buffer.from('picture') },
    ]);
    expect(seen[0]?.headers).toMatchObject({
      host: HOST,
      'content-type': 'image/png',
      'content-length': '7',
    });
    expect(stage.dialled).toEqual([{ addresses: [PUBLIC], port: 443 }]);
  });

  it.each([201, 307, 403, 503])('gives the status %i, and follows nothing', async (status) => {
    const seen: Seen[] = [];
    const location = `http://${HOST}/other`;
    const server = http.createServer(answering(status, seen, { location }));
    const network = new Stage(await listen(server), { [HOST]: [PUBLIC] });
    const given = put(`http://${HOST}/a`);
    expect(await putBytes(given, 'upload_url', ALLOWED, { network })).toBe(status);
    expect(seen).toHaveLength(1);
  });

  it('refuses a name that leads inside, and connects to nothing', async () => {
    const stage = new Stage(1, { [HOST]: [PUBLIC, '10.0.0.1'] });
    const error = await failureOf(
      putBytes(put(SIGNED), 'upload_url', policyOf(), { network: stage }),
    );
    expect(error).toMatchObject({
      code: 'fetch_refused',
      message: expect.stringMatching(
        /^upload_url store\.example\.com is not on the public internet/,
      ),
    });
    expect(stage.dialled).toEqual([]);
  });

  it.each([
    `http://${HOST}/a?signature=hunter2`, // anybody on the way could read it
    'https://127.0.0.1/a?signature=hunter2',
    'https://localhost/a?signature=hunter2',
    'https://[fd00:ec2::254]/a?signature=hunter2',
    'https://user:hunter2@store.example.com/a',
    'ftp://store.example.com/hunter2',
    'hunter2',
  ])('refuses %s without asking the network, before and when it puts', async (url) => {
    const refused = expect.objectContaining({
      code: 'fetch_refused',
      message: expect.not.stringContaining('hunter2'),
    });
    const { allow } = policyOf();
    expect(() => checkPutUrl(url, allow, 'upload_url')).toThrow(refused);
    const error = await failureOf(
      putBytes(put(url), 'upload_url', policyOf(), { network: NO_NETWORK }),
    );
    expect(error.code).toBe('fetch_refused');
    expect(error.message).not.toContain('hunter2');
  });

  it('waits no longer than it may for a storage that does not answer', async () => {
    const server = http.createServer(() => {});
    const network = new Stage(await listen(server), { [HOST]: [PUBLIC] });
    const policy = { ...ALLOWED, timeoutMs: 50 };
    const error = await failureOf(
      putBytes(put(`http://${HOST}/a`), 'upload_url', policy, { network }),
    );
    expect(error).toMatchObject({
      code: 'fetch_failed',
      message: 'upload_url store.example.com took longer than 0.05 s.',
    });
  });

  it('ends when it is not wanted any more', async () => {
    const server = http.createServer(() => {});
    const network = new Stage(await listen(server), { [HOST]: [PUBLIC] });
    const stop = new AbortController();
    const { signal } = stop;
    const putting = putBytes(put(`http://${HOST}/a`), 'upload_url', ALLOWED, { network, signal });
    const failing = failureOf(putting);
    await once(server, 'request');
    stop.abort();
    expect(await failing).toMatchObject({ code: 'cancelled' });
  });
});
