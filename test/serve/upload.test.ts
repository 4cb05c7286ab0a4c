import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { type Storage, startStorage } from '../upload/storage.ts';
import { goodInput, startWorker } from './rig.ts';

let storage: Storage;
beforeAll(async () => {
  storage = await startStorage();
});
afterAll(() => storage?.stop());

interface Answer {
  image_base64: string | null;
  file_path: string;
  files: { format: string; file_path: string; url?: string; bytes: number }[];
  timings_ms: Record<string, number>;
  warnings: string[];
}

const TOKEN = 'planted-in-an-upload-url';

/** A server that takes whatever is put below /good, and nothing else. */
async function startTarget() {
  const pictures = new Map<string, Buffer>();
  const server = http.createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece);
    pictures.set(request.url ?? '', Buffer.concat(pieces));
    response.writeHead(request.url?.startsWith('/good') ? 200 : 403).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, pictures };
}

it('a worker with a bucket uploads what is not in its answers, and says where all of it is', async () => {
  const target = await startTarget();
  const { platform, results, end } = await startWorker({
    BUCKET_ENDPOINT_URL: storage.url,
    BUCKET_ACCESS_KEY_ID: storage.keyId,
    BUCKET_SECRET_ACCESS_KEY: storage.key,
    BUCKET_NAME: storage.bucket,
    LOTUS_RUN_LIMIT: '4096', // no picture fits
    LOTUS_FETCH_ALLOW: '127.0.0.1',
    LOTUS_LOG_LEVEL: 'trace',
  });
  const formats = await goodInput({ output_formats: ['npy'] });
  const s3Config = {
    accessId: 'planted-id-of-a-caller',
    accessSecret: 'planted-key-of-a-caller',
    bucketName: storage.bucket,
    endpointUrl: storage.url,
  };
  platform.queue(
    { id: 'large', input: formats },
    { id: 'sync-small', input: formats },
    { id: 'put', input: { ...formats, upload_url: `${target.url}/good.png?token=${TOKEN}` } },
    { id: 'sync-put-badly', input: { ...formats, upload_url: `${target.url}/bad?token=${TOKEN}` } },
    { id: 'sync-stranger', input: formats, s3Config },
    { id: 'several', input: { ...(await severalInput()), output_formats: ['npy'] } },
    { id: 'sync-several', input: await severalInput() },
    { id: 'half', input: formats, s3Config: { accessSecret: 'planted-key-of-a-caller' } },
    { id: 'inside', input: { ...formats, upload_url: `https://10.0.0.1/?token=${TOKEN}` } },
  );
  const outcomes = await results(
    ...['large', 'sync-small', 'put', 'sync-put-badly', 'sync-stranger', 'half', 'inside'],
  );
  const answers = outcomes.map((outcome) => outcome?.output as Answer);
  const [large, small, put, putBadly, stranger, half, inside] = answers;

  for (const [id, answer] of [
    ['large', large],
    ['sync-small', small],
  ] as const) {
    const { bytes } = await storage.read(storage.bucket, `${id}/${id}.npy`);
    expect(bytes.equals(await readFile(fileOf(answer, 'npy')?.file_path ?? ''))).toBe(true);
    expect(answer).toMatchObject({ warnings: [], timings_ms: { upload: expect.any(Number) } });
  }
  expect(large?.image_base64).toBe(null);
  const picture = await readFile(large?.file_path ?? '');
  expect((await storage.read(storage.bucket, 'large/large.png')).bytes.equals(picture)).toBe(true);
  expect(fileOf(large, 'png')?.url).toContain('/large/large.png?');
  expect(small?.image_base64).toMatch(/^iVBOR/);
  expect(fileOf(small, 'png')).not.toHaveProperty('url');

  expect(put?.image_base64).toBe(null);
  expect(fileOf(put, 'png')?.url).toBe(`${target.url}/good.png`);
  expect(target.pictures.get(`/good.png?token=${TOKEN}`)?.equals(picture)).toBe(true);

  const { host } = new URL(target.url);
  expect(putBadly?.image_base64).toMatch(/^iVBOR/);
  expect(putBadly?.warnings).toEqual([`png is not uploaded: upload_url ${host} answered 403.`]);

  const where = new URL(storage.url).host;
  expect(stranger?.warnings).toEqual([`npy is not uploaded: the bucket at ${where} answered 403.`]);
  expect(fileOf(stranger, 'npy')).not.toHaveProperty('url');

  // 4096 bytes have no room for either picture.
  const [several, syncSeveral] = (await results('several', 'sync-several')).map(
    (outcome) => (outcome?.output as { images: Answer[] } | undefined)?.images,
  );
  expect(several).toHaveLength(2);
  for (const [at, answer] of (several ?? []).entries()) {
    expect(answer).toMatchObject({ image_base64: null, warnings: [] });
    for (const format of ['png', 'npy']) {
      const key = `several/several~${at + 1}.${format}`;
      const { bytes } = await storage.read(storage.bucket, key);
      expect(bytes.equals(await readFile(fileOf(answer, format)?.file_path ?? ''))).toBe(true);
      expect(fileOf(answer, format)?.url).toContain(`/${key}?`);
    }
  }
  for (const answer of syncSeveral ?? []) {
    expect(answer.image_base64).toMatch(/^iVBOR/);
    expect(fileOf(answer, 'png')).not.toHaveProperty('url');
  }

  expect(half).toMatchObject({ code: 'invalid_input', status: 400 });
  expect(inside).toMatchObject({ code: 'fetch_refused', status: 400 });

  const { stdout, stderr, lines } = await end();
  expect(stdout + stderr).not.toContain('X-Amz-');
  const told = stdout + stderr + JSON.stringify(outcomes);
  for (const secret of [storage.key, TOKEN, 'planted-key', 'planted-id']) {
    expect(told.includes(secret), secret).toBe(false);
  }
  const line = lines.find(({ msg, job }) => msg === 'job' && job === 'large');
  expect(line).toMatchObject({ outcome: 'completed', uploaded: ['png', 'npy'] });
});

it('a worker whose bucket is down answers all the same, and says what stays on the volume', async () => {
  const { platform, results, end } = await startWorker({
    BUCKET_ENDPOINT_URL: 'http://127.0.0.1:1',
    BUCKET_ACCESS_KEY_ID: 'planted-id',
    BUCKET_SECRET_ACCESS_KEY: 'planted-key',
    LOTUS_RUN_LIMIT: '4096', // no picture fits
  });
  platform.queue({ id: 'down', input: await goodInput({ output_formats: ['npy'] }) });
  const [outcome] = await results('down');
  const answer = outcome?.output as Answer;
  const why =
    /^(png|npy) is not uploaded: the bucket at 127\.0\.0\.1:1 cannot be reached: .*, 5 times\.$/;
  expect(answer).toMatchObject({
    image_base64: null,
    warnings: [
      expect.stringMatching(why),
      expect.stringMatching(why),
      expect.stringMatching(/^image_base64 is null: .* The picture is in file_path/),
    ],
  });
  expect(answer.files.map(({ format, url }) => [format, url])).toEqual([
    ['png', undefined],
    ['npy', undefined],
  ]);
  for (const { file_path, bytes } of answer.files) {
    expect((await readFile(file_path)).length).toBe(bytes);
  }
  const { exitCode, stderr } = await end();
  expect(exitCode).toBe(0);
  expect(stderr).not.toContain('planted');
});

it('a worker that is to end gives up its uploads, and delivers what it has', async () => {
  const server = http.createServer(() => {}); // it takes a request, and never answers
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { platform, until, end } = await startWorker({
    BUCKET_ENDPOINT_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    BUCKET_ACCESS_KEY_ID: 'planted-id',
    BUCKET_SECRET_ACCESS_KEY: 'planted-key',
    LOTUS_UPLOAD_TIMEOUT: '86400',
    LOTUS_SHUTDOWN_GRACE: '0',
  });
  let uploads = 0;
  server.on('request', () => {
    uploads += 1;
  });
  platform.queue({ id: 'sync-hanging', input: await goodInput({ output_formats: ['npy'] }) });
  await until(() => uploads > 0);
  const { exitCode } = await end();
  expect(exitCode).toBe(0);
  expect(platform.results('sync-hanging')).toMatchObject([
    {
      output: {
        image_base64: expect.stringMatching(/^iVBOR/),
        warnings: ['npy is not uploaded: the job was ended before it was there.'],
      },
    },
  ]);
});

/** Two images of a job. */
async function severalInput() {
  const { image_base64, ...options } = await goodInput();
  return { ...options, images: [{ image_base64 }, { image_base64 }] };
}

function fileOf(answer: Answer | undefined, wanted: string) {
  return answer?.files.find(({ format }) => format === wanted);
}
