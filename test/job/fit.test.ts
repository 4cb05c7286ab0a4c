import { describe, expect, it } from 'vitest';
import type { Answer, ImagesAnswer } from '../../src/job/answer.ts';
import { fitAnswer, fitImages } from '../../src/job/fit.ts';

/** An answer whose picture has so many bytes in base64. */
function answerOf(bytes: number, more: Partial<Answer> = {}): Answer {
  return {
    image_base64: 'A'.repeat(bytes),
    file_path: '/out/a.png',
    min: 0,
    max: 1,
    width: 4,
    height: 3,
    processing_width: 8,
    processing_height: 8,
    model_id: 'sample',
    model_revision: null,
    prediction: 'disparity',
    polarity: 'near-bright',
    inverted: false,
    normalize: 'minmax',
    range: [0, 1],
    seed: 0,
    ensemble_size: 1,
    dtype: 'float32',
    attention: 'sdpa',
    device: 'cpu',
    files: [],
    timings_ms: {},
    warnings: [],
    ...more,
  };
}

function severalOf(...images: ImagesAnswer['images']): ImagesAnswer {
  return { images, failed: 0, timings_ms: { total: 1 }, warnings: ['größer'] };
}

const sizeOf = (answer: unknown) => Buffer.byteLength(JSON.stringify(answer));
const pictures = ({ images }: ImagesAnswer) =>
  images.map((image) => ('error' in image ? image.code : (image.image_base64?.length ?? null)));

describe('fitAnswer', () => {
  it('leaves an answer as it is that has as many bytes as it may have', () => {
    const answer = answerOf(5000);
    expect(fitAnswer(answer, sizeOf(answer))).toBe(answer);
    const fitted = fitAnswer(answer, sizeOf(answer) - 1);
    expect(fitted).toMatchObject({ image_base64: null, warnings: [/^image_base64 is null/] });
  });

  it('refuses to lose a picture that is not saved', () => {
    const answer = answerOf(5000, { file_path: null, warnings: ['png is not saved: full'] });
    expect(() => fitAnswer(answer, 5000)).toThrow(/could not be saved: png is not saved: full/);
  });
});

describe('fitImages', () => {
  it('leaves an answer as it is that has as many bytes as it may have', () => {
    const answer = severalOf(answerOf(5000), answerOf(6000));
    expect(fitImages(answer, sizeOf(answer))).toEqual(answer);
    expect(pictures(fitImages(answer, sizeOf(answer) - 1))).toEqual([5000, null]);
  });

  it('leaves out pictures from the largest on, until it fits, and says so where they were', () => {
    const answer = severalOf(answerOf(9000), answerOf(100), answerOf(50_000), answerOf(9001));
    const fitted = fitImages(answer, 15_000);
    expect(pictures(fitted)).toEqual([9000, 100, null, null]);
    expect(fitted.images.map((image) => 'warnings' in image && image.warnings.length)).toEqual([
      0, 0, 1, 1,
    ]);
    expect(fitted).toMatchObject({ failed: 0, warnings: ['größer'] });
    expect(sizeOf(fitted)).toBeLessThanOrEqual(15_000);
  });

  it('has an error in the place of a picture that can go neither way, and the others', () => {
    const unsaved = { file_path: null, warnings: ['png is not saved: full'] };
    const answer = severalOf(
      answerOf(100),
      { id: 'b', ...answerOf(50_000, unsaved) },
      { error: 'image_base64 is empty.', code: 'no_image', status: 400 },
    );
    const fitted = fitImages(answer, 10_000);
    expect(pictures(fitted)).toEqual([100, 'internal', 'no_image']);
    expect(fitted.failed).toBe(2);
    expect(fitted.images[1]).toEqual({
      id: 'b',
      error: expect.stringContaining('could not be saved: png is not saved: full'),
      code: 'internal',
      status: 500,
    });
  });

  it('leaves out the same whether it is asked once, or after each image', () => {
    const images = [40, 10, 30, 10, 20, 5].map((kilobytes) => answerOf(kilobytes * 1000));
    const once = fitImages(severalOf(...images), 55_000);
    let each = severalOf();
    for (const image of images)
      each = fitImages({ ...each, images: [...each.images, image] }, 55_000);
    expect(pictures(each)).toEqual(pictures(once));
    expect(pictures(once)).toEqual([null, 10_000, null, 10_000, 20_000, 5000]);
  });
});
