import http from 'node:http';
import { describe, expect, it } from 'vitest';
import { Webhooks } from '../../src/http/webhooks.ts';
import { listen, PUBLIC, policyOf, Stage } from '../net/stage.ts';
import { recordingLog } from '../worker/programs.ts';
import { serveApi } from './api.ts';

/** Somebody's server for webhooks, which answers with these statuses in turn, and the posts that came. */
async function receiver(...statuses: number[]) {
  const posts: unknown[] = [];
  const enough = Promise.withResolvers<void>();
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    posts.push(JSON.parse(body));
    response.writeHead(statuses[posts.length - 1] ?? 500).end();
    if (posts.length === statuses.length) enough.resolve();
  });
  const network = new Stage(await listen(server), { 'hooks.example.com': [PUBLIC] });
  const webhooks = { policy: policyOf(), pauses: [1, 1], fetch: { network } };
  return { webhooks, network, posts, enough: enough.promise };
}

const BODY = { input: { do: 'echo' }, webhook: 'http://hooks.example.com/done?token=hunter2' };

describe('a webhook', () => {
  it('is posted what /status would say', async () => {
    const { webhooks, posts, enough } = await receiver(200);
    const api = await serveApi({ webhooks });
    const { json } = await api.ask('POST', '/runsync', BODY);
    await enough;
    expect(posts).toEqual([json]);
  });

  it('is tried twice more, and the job does not mind', async () => {
    const { webhooks, posts, enough } = await receiver(500, 404, 503);
    const api = await serveApi({ webhooks });
    const { json } = await api.ask('POST', '/runsync', BODY);
    await enough;
    await api.close(0);
    expect(json.status).toBe('COMPLETED');
    expect(posts).toHaveLength(3);
  });

  it.each([
    'http://127.0.0.1/',
    'http://169.254.169.254/',
    'file:///etc/passwd',
    'https://u:p@a.com/',
  ])('is refused before the job is queued when it is %s', async (webhook) => {
    const { webhooks } = await receiver();
    const api = await serveApi({ webhooks });
    const answer = await api.ask('POST', '/run', { ...BODY, webhook });
    expect(answer).toMatchObject({ status: 400, json: { code: 'invalid_request' } });
    expect(api.queue.counts.completed + api.queue.counts.inProgress).toBe(0);
  });

  it('is not posted to when its name leads inside', async () => {
    const { webhooks, network, posts } = await receiver(200);
    network.names['hooks.example.com'] = ['10.0.0.1'];
    const api = await serveApi({ webhooks });
    await api.ask('POST', '/runsync', BODY);
    await api.close(0); // which waits for what is under way
    expect(posts).toEqual([]);
    expect(network.resolved).toEqual(['hooks.example.com']); // once: it is not tried again
    expect(network.dialled).toEqual([]);
  });

  it('is not posted when too much is under way already', async () => {
    const { webhooks, posts, enough } = await receiver(200, 200);
    const { log, records } = recordingLog();
    const posting = new Webhooks({ ...webhooks, maxBytes: 1500 }, log);
    const send = (id: string) =>
      posting.send(BODY.webhook, { id, status: 'COMPLETED', output: 'x'.repeat(600) });
    for (const id of ['one', 'two', 'three']) send(id);
    expect(records).toMatchObject([
      { id: 'three', msg: 'too many webhooks are under way: not posted' },
    ]);
    await enough;
    await posting.close(60_000);
    expect(posts).toEqual([
      expect.objectContaining({ id: expect.stringMatching(/one|two/) }),
      expect.objectContaining({ id: expect.stringMatching(/one|two/) }),
    ]);
    send('four');
    expect(records).toHaveLength(1);
    await posting.close(60_000);
  });

  it('is refused by a server that posts to none', async () => {
    const api = await serveApi();
    expect(await api.ask('POST', '/run', BODY)).toMatchObject({ status: 400 });
    expect(await api.ask('POST', '/run', { ...BODY, webhook: null })).toMatchObject({
      status: 200,
    });
  });
});
