import { mapAhead } from '../ahead.ts';
import { asLotusError, isCancelled, type LotusError } from '../errors.ts';
import { type Answer, failureOf, type ImageAnswer, type ImagesAnswer } from './answer.ts';
import { fitImages } from './fit.ts';
import { type ImageSource, imageId, parseImageItem } from './schema.ts';
import { Stopwatch } from './stopwatch.ts';

/** One: while the model runs an image, the next is fetched and decoded, and no more than that is in memory. */
const AHEAD = 1;

/** What is done to each image. */
export interface ImageStages<Prepared> {
  /** Gets it ready for the model. */
  readonly prepare: (image: ImageSource) => Promise<Prepared>;
  /** Makes its answer; `n` counts from 1 on. */
  readonly answer: (image: Prepared, n: number) => Promise<Answer>;
}

export interface ImagesContext {
  /** Aborts the job. */
  readonly signal?: AbortSignal | undefined;
  /** How many bytes of JSON the answer may have. */
  readonly maxAnswerBytes: number;
  /** Told what went wrong with an image; `n` counts from 1 on. */
  readonly onFailure?: ((n: number, failure: LotusError) => void) | undefined;
}

type Outcome<T> = { readonly value: T } | { readonly error: unknown };

/**
 * Answer the images of a job one after the other. What is wrong with one is its own error, and no other's.
 *
 * @throws what has ended the job as a whole: it was aborted, or the model was stopped.
 */
export async function answerImages<Prepared>(
  items: readonly unknown[],
  { prepare, answer }: ImageStages<Prepared>,
  context: ImagesContext,
): Promise<ImagesAnswer> {
  const clock = new Stopwatch();
  let whole: ImagesAnswer = { images: [], failed: 0, timings_ms: {}, warnings: [] };
  const prepared = mapAhead(items.entries(), AHEAD, async ([at, item]) => ({
    n: at + 1,
    id: imageId(item),
    image: await outcomeOf(async () => await prepare(parseImageItem(item))),
  }));
  for await (const { n, id, image } of prepared) {
    const made = await outcomeOf(async () => {
      if ('error' in image) throw image.error;
      return await answer(image.value, n);
    });
    const one = 'value' in made ? made.value : failed(n, made.error, context);
    const images: ImageAnswer[] = [...whole.images, { ...(id !== undefined && { id }), ...one }];
    // Each time, so that no more pictures are kept in memory than go out.
    whole = fitImages({ ...whole, images }, context.maxAnswerBytes);
  }
  return { ...whole, timings_ms: clock.timings() };
}

function failed(n: number, error: unknown, { signal, onFailure }: ImagesContext) {
  if (signal?.aborted || isCancelled(error)) throw error;
  const failure = asLotusError(error);
  onFailure?.(n, failure);
  return failureOf(failure);
}

/** Never rejects: what is worked on ahead is awaited later, or never. */
async function outcomeOf<T>(work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    return { error };
  }
}
