import { expect, it } from 'vitest';
import { LotusError } from '../../src/errors.ts';
import type { Answer } from '../../src/job/answer.ts';
import { answerImages } from '../../src/job/images.ts';

const ITEMS = ['1', '2', '3', '4'].map((image_url) => ({ image_url }));

/** An answer that `fitImages` can look at. */
const ANSWER = { image_base64: '', file_path: null, warnings: [] as string[] } as unknown as Answer;

it('the next image is got ready beside the one in the model, and none after that', async () => {
  const begun: string[] = [];
  const nextHasBegun = [2, 3, 4].map(() => Promise.withResolvers<void>());
  const atOnce: number[] = [];
  await answerImages(
    ITEMS,
    {
      prepare: async (image) => {
        begun.push('url' in image ? image.url : '');
        nextHasBegun[begun.length - 2]?.resolve();
      },
      answer: async (_image, n) => {
        await nextHasBegun[n - 1]?.promise; // hangs if it does not come beside this one
        atOnce.push(begun.length - n);
        return ANSWER;
      },
    },
    { maxAnswerBytes: 1e6 },
  );
  expect(begun).toEqual(['1', '2', '3', '4']);
  expect(atOnce).toEqual([1, 1, 1, 0]);
});

it('an image that could not be saved and does not fit fails alone', async () => {
  const large = { ...ANSWER, image_base64: 'A'.repeat(2000), warnings: ['png is not saved: full'] };
  const { images, failed } = await answerImages(
    [{ id: 'a', image_url: '1' }, { image_url: '2' }],
    { prepare: async () => null, answer: async (_image, n) => (n === 1 ? large : ANSWER) },
    { maxAnswerBytes: 1000 },
  );
  expect(images).toMatchObject([
    { id: 'a', code: 'internal', error: /saved: full/ },
    { image_base64: '' },
  ]);
  expect(failed).toBe(1);
});

it('what is no error of an image ends the job: the model was stopped', async () => {
  const stages = {
    prepare: async () => null,
    answer: () => Promise.reject(new LotusError('cancelled', 'Cancelled.')),
  };
  await expect(answerImages(ITEMS, stages, { maxAnswerBytes: 1e6 })).rejects.toMatchObject({
    code: 'cancelled',
  });
});

it('an error that is none of ours is told in full where it is logged, and not to the caller', async () => {
  const causes: unknown[] = [];
  const error = new Error('of /srv/secret');
  const { images } = await answerImages(
    ITEMS.slice(0, 1),
    { prepare: () => Promise.reject(error), answer: async () => ANSWER },
    { maxAnswerBytes: 1e6, onFailure: (_n, { cause }) => causes.push(cause) },
  );
  expect(images).toMatchObject([{ code: 'internal', status: 500 }]);
  expect(JSON.stringify(images)).not.toContain('secret');
  expect(causes).toEqual([error]);
});
