import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { SECRETS } from '../../src/settings.ts';
import { IMAGES, scratchFolder } from '../cli/cli.ts';
import { KEY } from '../runpod/platform.ts';
import { API_KEY, goodInput, pythonsOf, startWorker } from './rig.ts';

/** In the query of an address that a caller gives. */
const URL_TOKEN = 'planted-in-a-url';

/** Each in its variable; the platform's and the server's own are what they are to work with. */
const PLANTED: Record<string, string> = {
  ...Object.fromEntries(SECRETS.map((name) => [name, `planted-${name.toLowerCase()}`])),
  LOTUS_API_KEY: API_KEY,
  RUNPOD_AI_API_KEY: KEY,
};
const TEXTS = [...Object.values(PLANTED), URL_TOKEN, 'planted-by-a-caller'];

/** Those of the planted texts that are there. */
const foundIn = (text: string) => TEXTS.filter((planted) => text.includes(planted));

it('secrets are in no log, no result, no file, and not in the Python process', async () => {
  const images = await startImages();
  const scratch = await scratchFolder();
  const { platform, child, results, end } = await startWorker({
    ...PLANTED,
    LOTUS_LOG_LEVEL: 'trace',
    LOTUS_SCRATCH_DIR: scratch,
    LOTUS_FETCH_ALLOW: '127.0.0.1',
    BUCKET_ENDPOINT_URL: images, // it takes nothing
  });
  const input = await goodInput();
  const { image_base64: _, ...rest } = input;
  const fetched = (file: string) => ({
    ...rest,
    image_url: `${images}/${file}?token=${URL_TOKEN}`,
  });
  const jobs = {
    good: input,
    fetched: fetched('corridor.jpg'),
    missing: fetched('missing.jpg'),
    moved: fetched('moved'),
    inside: { ...rest, image_url: `http://10.0.0.1/a.png?token=${URL_TOKEN}` },
    credentials: { ...rest, image_url: `https://user:${URL_TOKEN}@example.com/` },
    'no-url': { ...rest, image_url: `ftp://${URL_TOKEN}` },
    'wrong-key': { ...input, api_key: 'planted-by-a-caller' },
    'key-of-a-kind': { ...input, api_key: [API_KEY] },
    typo: { ...input, apikey: 'planted-by-a-caller' },
    'not-taken': { ...input, upload_url: `${images}/missing?token=${URL_TOKEN}` },
    'not-stored': { ...input, output_formats: ['npy'] },
    'not-theirs': { ...input, output_formats: ['npy'] },
    'put-inside': { ...input, upload_url: `https://10.0.0.1/a.png?token=${URL_TOKEN}` },
  };
  const s3Config = {
    accessId: 'planted-by-a-caller',
    accessSecret: 'planted-by-a-caller',
    bucketName: 'maps',
    endpointUrl: images,
  };
  const queued = Object.entries(jobs).map(([id, job]) => ({ id, input: job }));
  platform.queue(...queued.map((job) => (job.id === 'not-theirs' ? { ...job, s3Config } : job)));
  const outcomes = await results(...Object.keys(jobs));
  expect(outcomes.slice(0, 2)).toMatchObject([
    { output: { width: 640 } },
    { output: { width: 640 } },
  ]);
  const uploads = outcomes.slice(10, 13).map((outcome) => outcome?.output);
  const told = {
    warnings: [expect.stringMatching(/ is not uploaded: .* 127\.0\.0\.1:\d+ answered/)],
  };
  expect(uploads).toMatchObject([told, told, told]);
  expect(foundIn(JSON.stringify(outcomes))).toEqual([]);

  const [python = 0] = await pythonsOf(child.pid);
  for (const file of ['environ', 'cmdline']) {
    const seen = await readFile(`/proc/${python}/${file}`, 'utf8');
    expect(seen).toContain(file === 'environ' ? 'PYTHONPATH' : 'lotus_worker');
    expect(foundIn(seen)).toEqual([]);
  }
  const files = await Promise.all(
    (await filesOf(outcomes)).map((file) => readFile(file, 'latin1')),
  );
  expect(files).toHaveLength(7);
  expect(files.flatMap(foundIn)).toEqual([]);
  const { stderr, stdout, lines } = await end();
  expect(lines.filter(({ msg }) => msg === 'job')).toHaveLength(14);
  expect(foundIn(stderr + stdout)).toEqual([]);
  expect(await readdir(scratch)).toEqual([]);
  const sent = platform.requests.map(({ path: where, query, body }) => `${where} ${query} ${body}`);
  expect(foundIn(sent.join('\n'))).toEqual([]);
});

async function filesOf(
  outcomes: readonly (Record<string, unknown> | undefined)[],
): Promise<string[]> {
  const answers = outcomes.map((outcome) => outcome?.output as { files?: { file_path: string }[] });
  return answers.flatMap((output) => (output?.files ?? []).map(({ file_path }) => file_path));
}

/** The sample images by HTTP, one of which has moved. */
async function startImages(): Promise<string> {
  const server = createServer(async ({ url = '' }, response) => {
    const { pathname } = new URL(url, 'http://images');
    if (pathname === '/moved') response.writeHead(302, { location: `/gone?${URL_TOKEN}` });
    else if (!/^\/corridor/.test(pathname)) response.writeHead(404);
    else response.write(await readFile(path.join(IMAGES, 'corridor.jpg')));
    response.end(pathname.startsWith('/corridor') ? undefined : URL_TOKEN);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
