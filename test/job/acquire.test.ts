import http from 'node:http';
import { describe, expect, it } from 'vitest';
import { acquireImage } from '../../src/job/acquire.ts';
import { listen, policyOf } from '../net/stage.ts';

const IMAGE = Buffer.from('an image, or not');

describe('acquireImage', () => {
  it('decodes base64', async () => {
    const image = { base64: IMAGE.toString('base64') };
    expect(await acquireImage(image, { fetch: policyOf() })).toEqual(IMAGE);
  });

  it('fetches from an address that the operator allows', async () => {
    const port = await listen(http.createServer((_request, response) => response.end(IMAGE)));
    const image = { url: `http://127.0.0.1:${port}/` };
    const fetch = policyOf({ allowText: '127.0.0.1' });
    expect(await acquireImage(image, { fetch })).toEqual(IMAGE);
    await expect(acquireImage(image, { fetch: policyOf() })).rejects.toMatchObject({
      code: 'fetch_refused',
    });
  });

  it('stops with the job', async () => {
    const stop = new AbortController();
    const port = await listen(http.createServer(() => stop.abort()));
    const image = { url: `http://127.0.0.1:${port}/` };
    const context = { fetch: policyOf({ allowText: '127.0.0.1' }), signal: stop.signal };
    await expect(acquireImage(image, context)).rejects.toMatchObject({ code: 'cancelled' });
  });
});
