import { randomBytes } from 'node:crypto';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { Secret } from '../../src/secret.ts';
import type { Bucket } from '../../src/upload/bucket.ts';
import { type Uploaded, uploadToBucket } from '../../src/upload/files.ts';
import { presignGet } from '../../src/upload/sign.ts';
import { type Storage, startStorage } from './storage.ts';

let storage: Storage;
beforeAll(async () => {
  storage = await startStorage();
});
afterAll(() => storage?.stop());

const CONTEXT = { timeoutMs: 120_000, pace: { firstMs: 1, maxMs: 1 } };

/** As an operator sets it. */
function bucketOf(more: Record<string, string> = {}): Bucket {
  const { bucket } = readConfig({
    BUCKET_ENDPOINT_URL: storage.url,
    BUCKET_ACCESS_KEY_ID: storage.keyId,
    BUCKET_SECRET_ACCESS_KEY: storage.key,
    BUCKET_NAME: storage.bucket,
    ...more,
  }).uploads;
  return bucket ?? expect.fail('there is no bucket');
}

const urlOf = (uploaded: Uploaded) =>
  'url' in uploaded ? uploaded.url : expect.fail(uploaded.problem);

async function get(url: string): Promise<{ type: unknown; bytes: Buffer }> {
  return await storage.unchecked(async () => {
    const { statusCode, headers, body } = await request(url);
    expect(statusCode).toBe(200);
    return { type: headers['content-type'], bytes: Buffer.from(await body.arrayBuffer()) };
  });
}

describe('a file in a bucket', () => {
  it('is there to the byte, with its type, under the name of its job', async () => {
    const file = { name: 'job-1.png', bytes: randomBytes(3_000_000), contentType: 'image/png' };
    const uploaded = await uploadToBucket(file, 'job-1', bucketOf(), CONTEXT);
    const object = await storage.read(storage.bucket, 'job-1/job-1.png');
    expect(object.contentType).toBe('image/png');
    expect(object.bytes.equals(file.bytes)).toBe(true);
    const got = await get(urlOf(uploaded));
    expect(got.type).toBe('image/png');
    expect(got.bytes.equals(file.bytes)).toBe(true);
  });

  it('may be small, or a part of a larger memory', async () => {
    const bytes = Buffer.from('all of it').subarray(4, 6);
    const file = { name: 'a.npy', bytes, contentType: 'application/octet-stream' };
    await uploadToBucket(file, 'small~1', bucketOf(), CONTEXT);
    const object = await storage.read(storage.bucket, 'small~1/a.npy');
    expect(object).toEqual({ contentType: 'application/octet-stream', bytes: Buffer.from('of') });
  });

  it("is in the month's bucket where none is named, as with RunPod's SDK", async () => {
    const file = { name: 'a.png', bytes: Buffer.from('a'), contentType: 'image/png' };
    const { pathname } = new URL(
      urlOf(await uploadToBucket(file, 'job', bucketOf({ BUCKET_NAME: '' }), CONTEXT)),
    );
    expect(pathname).toMatch(/^\/\d\d-\d\d\/job\/a\.png$/);
    const [, month = ''] = pathname.split('/');
    expect((await storage.read(month, 'job/a.png')).bytes.toString()).toBe('a');
  });

  it('has a URL that botocore signs in the same way, for seven days', async () => {
    const now = new Date();
    const bucket = { ...bucketOf(), region: 'eu-west-3' };
    const object = `${storage.url}/${storage.bucket}/a~b/c-d_e.png`;
    const url = await presignGet(bucket, object, now);
    const digest = 'X-Amz-Content-Sha256=UNSIGNED-PAYLOAD'; // botocore leaves it out, and it may be there
    expect(url).toBe(await storage.presign(`${object}?${digest}`, 'eu-west-3', now));
    expect(new URL(url).searchParams.get('X-Amz-Expires')).toBe('604800');
    expect(url).not.toContain(storage.key);
  });
});

describe('a bucket that takes nothing', () => {
  const FILE = { name: 'a.png', bytes: Buffer.from('a'), contentType: 'image/png' };

  it.each([
    [
      'with another key',
      (bucket: Bucket) => ({ ...bucket, secretAccessKey: new Secret('other') }),
      403,
    ],
    ['with another id', (bucket: Bucket) => ({ ...bucket, accessKeyId: new Secret('other') }), 403],
    ['of a name that is not there', (bucket: Bucket) => ({ ...bucket, name: 'nobodys' }), 404],
  ])('%s is told of by its status', async (_what, change, status) => {
    const { host } = new URL(storage.url);
    expect(await uploadToBucket(FILE, 'refused', change(bucketOf()), CONTEXT)).toEqual({
      problem: `the bucket at ${host} answered ${status}`,
    });
  });

  it('because it is down is told of after the last try', async () => {
    const bucket = bucketOf({ BUCKET_ENDPOINT_URL: 'http://127.0.0.1:1' });
    expect(await uploadToBucket(FILE, 'refused', bucket, CONTEXT)).toEqual({
      problem:
        'the bucket at 127.0.0.1:1 cannot be reached: its host cannot be reached (ECONNREFUSED), 5 times',
    });
  });
});
