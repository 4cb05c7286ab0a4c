import { randomBytes } from 'node:crypto';
import http from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import type { OutputFile } from '../../src/job/formats.ts';
import { planUploads, uploadFiles } from '../../src/job/upload.ts';
import { listen, PUBLIC, policyOf, Stage } from '../net/stage.ts';
import { type Storage, startStorage } from '../upload/storage.ts';

/** Which of a job's files go where: to a real storage, an upload_url that answers as it is told, or neither. */
let storage: Storage;
beforeAll(async () => {
  storage = await startStorage();
});
afterAll(() => storage?.stop());

const png = { format: 'png', path: '/out/job.png', bytes: randomBytes(60_000) } as const;
const npy = { format: 'npy', path: '/out/job.npy', bytes: randomBytes(90_000) } as const;
const FILES: readonly OutputFile[] = [png, npy];
/** The answer's: 60,000 bytes are 80,000 in base64. */
const ROOM = 1_000_000;
const NO_ROOM = 80_000;

const HOST = 'store.example.com';
const UPLOAD_URL = `http://${HOST}/a/picture.png?signature=hunter2`;

/** What takes an upload_url: answers so, one after the other and the last for ever. */
async function target(...statuses: number[]) {
  const pictures: Buffer[] = [];
  const server = http.createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece);
    pictures.push(Buffer.concat(pieces));
    response.writeHead(statuses[Math.min(pictures.length, statuses.length) - 1] ?? 500).end();
  });
  return { network: new Stage(await listen(server), { [HOST]: [PUBLIC] }), pictures };
}

const operators = (more: Record<string, string> = {}) => ({
  BUCKET_ENDPOINT_URL: storage.url,
  BUCKET_ACCESS_KEY_ID: storage.keyId,
  BUCKET_SECRET_ACCESS_KEY: storage.key,
  BUCKET_NAME: storage.bucket,
  ...more,
});
const DOWN = { BUCKET_ENDPOINT_URL: 'http://127.0.0.1:1' };

interface Given {
  /** Names the folder in the bucket. */
  job: string;
  uploadUrl?: string;
  s3Config?: unknown;
  env?: Record<string, string>;
  network?: Stage;
  maxAnswerBytes?: number;
}

async function upload({
  job,
  uploadUrl,
  s3Config,
  env = {},
  network,
  maxAnswerBytes = ROOM,
}: Given) {
  const { uploads } = readConfig(env);
  const context = {
    fetch: policyOf({ allowText: `${HOST}, 127.0.0.1` }),
    uploads: { ...uploads, pace: { firstMs: 1, maxMs: 1 } },
    network,
    maxAnswerBytes,
  };
  const plan = planUploads({ uploadUrl: uploadUrl ?? null, s3Config }, context);
  if (plan === null) return expect.fail('nothing is to be uploaded');
  const { urls, warnings } = await uploadFiles(FILES, job, plan, context);
  return { urls: Object.fromEntries(urls), warnings };
}

const inBucket = async (job: string, file: string) =>
  (await storage.read(storage.bucket, `${job}/${file}`)).bytes;
const urlIn = (job: string, file: string) =>
  expect.stringMatching(`^${storage.url}/${storage.bucket}/${job}/${file}\\?.*X-Amz-Signature=`);

describe('with a bucket', () => {
  it('all files go to it but a picture that is in the answer', async () => {
    const { urls, warnings } = await upload({ job: 'fits', env: operators() });
    expect(warnings).toEqual([]);
    expect(urls).toEqual({ npy: urlIn('fits', 'job.npy') });
    expect((await inBucket('fits', 'job.npy')).equals(npy.bytes)).toBe(true);
    await expect(inBucket('fits', 'job.png')).rejects.toThrow('NoSuchKey');
  });

  it('the picture goes to it as well where the answer has no room for it', async () => {
    const given = { job: 'large', env: operators(), maxAnswerBytes: NO_ROOM };
    const { urls, warnings } = await upload(given);
    expect(warnings).toEqual([]);
    expect(urls).toEqual({ png: urlIn('large', 'job.png'), npy: urlIn('large', 'job.npy') });
    expect((await inBucket('large', 'job.png')).equals(png.bytes)).toBe(true);
  });

  it("the job's own comes before the operator's", async () => {
    const s3Config = {
      accessId: storage.keyId,
      accessSecret: storage.key,
      bucketName: storage.bucket,
      endpointUrl: storage.url,
    };
    const { urls, warnings } = await upload({ job: 'own', s3Config, env: operators(DOWN) });
    expect(warnings).toEqual([]);
    expect(urls).toEqual({ npy: urlIn('own', 'job.npy') });
    expect((await inBucket('own', 'job.npy')).equals(npy.bytes)).toBe(true);
  });

  it('that is down, nothing is uploaded, and each file says so', async () => {
    const given = { job: 'down', env: operators(DOWN), maxAnswerBytes: NO_ROOM };
    const why =
      'the bucket at 127.0.0.1:1 cannot be reached: its host cannot be reached (ECONNREFUSED), 5 times';
    expect(await upload(given)).toEqual({
      urls: {},
      warnings: [`png is not uploaded: ${why}.`, `npy is not uploaded: ${why}.`],
    });
  });

  it("that is the job's own and whose name leads inside, nothing is connected to", async () => {
    const network = new Stage(1, { 'bucket.example.com': ['10.0.0.7'] });
    const s3Config = {
      accessId: 'id',
      accessSecret: 'hunter2',
      bucketName: 'maps',
      endpointUrl: 'https://bucket.example.com',
    };
    const { urls, warnings } = await upload({ job: 'inside', s3Config, network });
    expect(urls).toEqual({});
    expect(warnings).toEqual([
      expect.stringMatching(/^npy is not uploaded: .* bucket\.example\.com is not on the public/),
    ]);
    expect(network.dialled).toEqual([]);
  });
});

describe('with an upload_url', () => {
  it('the picture goes there, and is told by the URL without its query', async () => {
    const { network, pictures } = await target(200);
    const given = { job: 'put', uploadUrl: UPLOAD_URL, network };
    expect(await upload(given)).toEqual({
      urls: { png: `http://${HOST}/a/picture.png` },
      warnings: [],
    });
    expect(pictures).toHaveLength(1);
    expect(pictures[0]?.equals(png.bytes)).toBe(true);
  });

  it('it is tried again, and is there in the end', async () => {
    const { network, pictures } = await target(503, 503, 200);
    const { urls, warnings } = await upload({ job: 'put', uploadUrl: UPLOAD_URL, network });
    expect([Object.keys(urls), warnings]).toEqual([['png'], []]);
    expect(pictures).toHaveLength(3);
  });

  it('that fails, the picture stays for the answer, and the warning has no token', async () => {
    const { network } = await target(500);
    expect(await upload({ job: 'put', uploadUrl: UPLOAD_URL, network })).toEqual({
      urls: {},
      warnings: [`png is not uploaded: upload_url ${HOST} answered 500, 5 times.`],
    });
  });

  it('that fails, a picture that the answer has no room for goes to the bucket', async () => {
    const uploadUrl = 'http://127.0.0.1:1/picture.png?signature=hunter2';
    const given = { job: 'second', uploadUrl, env: operators(), maxAnswerBytes: NO_ROOM };
    const { urls, warnings } = await upload(given);
    expect(urls).toEqual({ png: urlIn('second', 'job.png'), npy: urlIn('second', 'job.npy') });
    expect(warnings).toEqual([expect.stringMatching(/^png is not uploaded: .*ECONNREFUSED/)]);
    expect(warnings.join()).not.toContain('hunter2');
  });

  it('whose name leads inside, nothing is connected to and the map is kept', async () => {
    const network = new Stage(1, { 'inside.example.com': [PUBLIC, '169.254.169.254'] });
    const uploadUrl = 'https://inside.example.com/a?signature=hunter2';
    const { urls, warnings } = await upload({ job: 'inside', uploadUrl, network });
    expect(urls).toEqual({});
    expect(warnings).toEqual([
      expect.stringMatching(/^png is not uploaded: upload_url inside\.example\.com is not on the/),
    ]);
    expect(network.dialled).toEqual([]);
  });
});

it('without either, nothing is uploaded', () => {
  const { uploads } = readConfig({});
  const wanted = { uploadUrl: null, s3Config: undefined };
  expect(planUploads(wanted, { fetch: policyOf(), uploads })).toBe(null);
});
