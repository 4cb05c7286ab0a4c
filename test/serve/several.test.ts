import { expect, it } from 'vitest';
import { goodInput, startWorker } from './rig.ts';

it('a worker answers a job of several images, the good ones and the bad one, with a line for each failure', async () => {
  const { platform, results, end } = await startWorker();
  const { image_base64, ...options } = await goodInput();
  const inside = 'http://127.0.0.1:1/?token=planted-in-an-image-url';
  platform.queue(
    { id: 'some', input: { ...options, images: [{ image_base64 }, { image_url: inside }] } },
    { id: 'none', input: { ...options, images: [{ id: 'empty', image_base64: '' }, {}] } },
    { id: 'too-many', input: { ...options, images: Array(17).fill({ image_base64 }) } },
    { id: 'to-a-url', input: { ...options, images: [{}], upload_url: 'https://example.com/' } },
  );
  const [some, none, tooMany, toUrl] = await results('some', 'none', 'too-many', 'to-a-url');
  expect(some).toEqual({
    output: {
      images: [
        expect.objectContaining({ image_base64: expect.stringMatching(/^iVBOR/), width: 640 }),
        { error: expect.stringContaining('public internet'), code: 'fetch_refused', status: 400 },
      ],
      failed: 1,
      timings_ms: { total: expect.any(Number) },
      warnings: [],
    },
  });
  expect(none).toMatchObject({
    output: { images: [{ id: 'empty', code: 'no_image' }, { code: 'no_image' }], failed: 2 },
  });
  const refused = { output: { code: 'invalid_input', status: 400 } };
  expect(tooMany).toMatchObject({ ...refused, error: /at most 16 images a job, got a list of 17/ });
  expect(toUrl).toMatchObject({ ...refused, error: /upload_url takes one picture/ });

  const { stderr, lines } = await end();
  expect(stderr).not.toContain('planted');
  const of = (id: string, what: string) =>
    lines.filter(({ msg, job }) => msg === what && job === id);
  expect(of('some', 'image')).toMatchObject([{ image: 2, code: 'fetch_refused', status: 400 }]);
  expect(of('none', 'image')).toMatchObject([{ image: 1 }, { image: 2, code: 'no_image' }]);
  expect(of('some', 'job')).toMatchObject([
    {
      outcome: 'completed',
      images: 2,
      failed: 1,
      each: [{ size: '640x427', bytes: { png: expect.any(Number) } }, { code: 'fetch_refused' }],
      ms: { total: expect.any(Number) },
    },
  ]);
  expect(of('none', 'job')).toMatchObject([{ outcome: 'completed', images: 2, failed: 2 }]);
});
