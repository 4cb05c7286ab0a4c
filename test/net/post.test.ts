import http from 'node:http';
import { describe, expect, it } from 'vitest';
import { checkPostUrl, postJson } from '../../src/net/post.ts';
import { failureOf, listen, NO_NETWORK, PUBLIC, policyOf, Stage } from './stage.ts';

const URL_WITH_TOKEN = 'http://hooks.example.com/done?token=hunter2';

async function serve(status: number, headers: http.OutgoingHttpHeaders = {}) {
  const bodies: string[] = [];
  const requests: http.IncomingMessage[] = [];
  const server = http.createServer(async (request, response) => {
    requests.push(request);
    let body = '';
    for await (const chunk of request) body += chunk;
    bodies.push(body);
    response.writeHead(status, headers).end('secret answer');
  });
  return {
    stage: new Stage(await listen(server), { 'hooks.example.com': [PUBLIC] }),
    requests,
    bodies,
  };
}

const post = (network: Stage, url = URL_WITH_TOKEN) =>
  postJson(url, '{"a":1}', 'webhook', policyOf(), { network });

describe('postJson', () => {
  it('posts to the address that was looked at', async () => {
    const { stage, requests, bodies } = await serve(204);
    await post(stage);
    expect(bodies).toEqual(['{"a":1}']);
    expect(requests[0]).toMatchObject({ method: 'POST', url: '/done?token=hunter2' });
    expect(requests[0]?.headers).toMatchObject({
      host: 'hooks.example.com',
      'content-type': 'application/json',
      'content-length': '7',
    });
    expect(stage.dialled).toEqual([{ addresses: [PUBLIC], port: 80 }]);
  });

  it.each([301, 307, 400, 404, 500])(
    'takes %i for a failure, and follows nothing',
    async (status) => {
      const { stage, requests } = await serve(status, {
        location: 'http://hooks.example.com/other',
      });
      const error = await failureOf(post(stage));
      expect(error).toMatchObject({
        code: 'fetch_failed',
        message: `webhook http://hooks.example.com/done answered ${status}.`,
      });
      expect(requests).toHaveLength(1);
    },
  );

  it.each(['http://127.0.0.1/', 'http://localhost/', 'http://0x7f.1/', 'http://[fd00:ec2::254]/'])(
    'refuses %s without asking the network, before and when it posts',
    async (url) => {
      const refused = expect.objectContaining({ code: 'fetch_refused' });
      expect(() => checkPostUrl(url, policyOf(), 'webhook')).toThrow(refused);
      const posted = postJson(url, '{}', 'webhook', policyOf(), { network: NO_NETWORK });
      expect(await failureOf(posted)).toMatchObject({ code: 'fetch_refused' });
    },
  );

  it('refuses a name that leads inside', async () => {
    const { stage, requests } = await serve(200);
    stage.names['hooks.example.com'] = [PUBLIC, '10.0.0.1'];
    expect(await failureOf(post(stage))).toMatchObject({ code: 'fetch_refused' });
    expect(requests).toEqual([]);
  });
});
