import http from 'node:http';
import { describe, expect, it } from 'vitest';
import { putUntilThere } from '../../src/upload/retry.ts';
import { listen, PUBLIC, policyOf, Stage } from '../net/stage.ts';

const HOST = 'store.example.com';
const PACE = { firstMs: 1, maxMs: 1 };
const { allow } = policyOf({ allowText: HOST });

/** A storage that answers so, one after the other and the last for ever; null: it breaks off. Bodies are counted. */
async function storage(...statuses: (number | null)[]) {
  const bodies: string[] = [];
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    bodies.push(body);
    const status = statuses[Math.min(bodies.length, statuses.length) - 1];
    if (status) response.writeHead(status).end('hunter2');
    else response.destroy();
  });
  const network = new Stage(await listen(server), { [HOST]: [PUBLIC] });
  return { network, bodies };
}

function putTo(network: Stage, more: { timeoutMs?: number; signal?: AbortSignal } = {}) {
  const url = `http://${HOST}/a.png?signature=hunter2`;
  const given = { url, bytes: Buffer.from('picture'), headers: {} };
  const context = { network, pace: PACE, timeoutMs: 60_000, ...more };
  return putUntilThere(() => given, { what: 'upload_url', allow }, context);
}

describe('an upload', () => {
  it('is tried once where that goes well', async () => {
    const { network, bodies } = await storage(200);
    expect(await putTo(network)).toBe(null);
    expect(bodies).toEqual(['picture']);
  });

  it.each([503, 500, 429, null])('is tried again after %s, until it is there', async (status) => {
    const { network, bodies } = await storage(status, status, 204);
    expect(await putTo(network)).toBe(null);
    expect(bodies).toEqual(['picture', 'picture', 'picture']);
  });

  it('is given up after the fifth try, and says what came last', async () => {
    const { network, bodies } = await storage(503, 500);
    expect(await putTo(network)).toBe('upload_url store.example.com answered 500, 5 times');
    expect(bodies).toHaveLength(5);
  });

  it.each([301, 403, 404, 413])('is not tried again after %i', async (status) => {
    const { network, bodies } = await storage(status);
    expect(await putTo(network)).toBe(`upload_url store.example.com answered ${status}`);
    expect(bodies).toHaveLength(1);
  });

  it('is not tried again where the guard says no', async () => {
    const { network, bodies } = await storage(200);
    network.names[HOST] = ['169.254.169.254'];
    expect(await putTo(network)).toMatch(/^upload_url store\.example\.com is not on the public/);
    expect([network.resolved, bodies]).toEqual([[HOST], []]);
  });

  it('is not tried for ever at a storage that does not answer', async () => {
    const network = new Stage(await listen(http.createServer(() => {})), { [HOST]: [PUBLIC] });
    const why = await putTo(network, { timeoutMs: 400 });
    expect(why).toMatch(/^upload_url .*, and after 0\.4 s it is not tried again$/);
  });

  it('ends with the job', async () => {
    const { network } = await storage(200);
    const signal = AbortSignal.abort();
    expect(await putTo(network, { signal })).toBe('the job was ended before it was there');
  });

  it('is signed anew for each try', async () => {
    const { network } = await storage(503, 200);
    let signed = 0;
    const sign = () => {
      signed += 1;
      return { url: `http://${HOST}/a`, bytes: Buffer.from('a'), headers: {} };
    };
    const context = { network, pace: PACE, timeoutMs: 60_000 };
    expect(await putUntilThere(sign, { what: 'upload_url', allow }, context)).toBe(null);
    expect(signed).toBe(2);
  });
});
