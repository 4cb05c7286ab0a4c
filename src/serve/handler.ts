import { asLotusError, LotusError } from '../errors.ts';
import { type Answer, failureOf, type ImagesAnswer, isFailure } from '../job/answer.ts';
import { fitAnswer, fitImages } from '../job/fit.ts';
import type { ImagesContext } from '../job/images.ts';
import type { Log } from '../log.ts';
import { type Handler, type Job, JobStopped } from '../runpod/handler.ts';

interface HandlerOptions {
  /** Runs a job; throws what the caller is to be told. */
  run(job: Job, context: Required<ImagesContext>): Promise<Answer | ImagesAnswer>;
  /** Gets one line a job, and one for each of several images that failed. */
  log: Log;
}

/** The job as the queue and the local API know it: it answers always, with what was made or with what went wrong. */
export function jobHandler({ run, log }: HandlerOptions): Handler {
  return async (job, { signal, maxOutputBytes }) => {
    const since = performance.now();
    const onFailure = (n: number, failure: LotusError) =>
      logFailure(log, { ...subject(job), image: n }, failure, 'image');
    try {
      const made = await run(job, { signal, maxAnswerBytes: maxOutputBytes, onFailure });
      const answer = isOfSeveral(made)
        ? fitImages(made, maxOutputBytes)
        : fitAnswer(made, maxOutputBytes);
      const level = isTrouble(answer) ? 'error' : 'info';
      const told = isOfSeveral(answer) ? factsOfImages(answer) : facts(answer);
      log[level]({ ...subject(job), outcome: 'completed', ...told }, 'job');
      return answer;
    } catch (error) {
      const failure = asLotusError(signal.aborted ? whyStopped(signal, error) : error);
      const ms = Math.round(performance.now() - since);
      logFailure(log, { ...subject(job), outcome: 'failed', ms }, failure, 'job');
      return failureOf(failure);
    }
  };
}

function logFailure(
  log: Log,
  about: object,
  { code, status, message, cause }: LotusError,
  what: 'job' | 'image',
): void {
  const line = { ...about, code, status, error: message };
  // The caller's mistakes are no errors of ours.
  if (status >= 500) log.error({ ...line, err: cause }, what);
  else log.info(line, what);
}

function isOfSeveral(answer: Answer | ImagesAnswer): answer is ImagesAnswer {
  return 'images' in answer;
}

/** Whether something is wrong with us: the volume is of no use, or an image failed by our fault. */
function isTrouble(answer: Answer | ImagesAnswer): boolean {
  if (!isOfSeveral(answer)) return answer.file_path === null;
  return answer.images.some((image) =>
    isFailure(image) ? image.status >= 500 : image.file_path === null,
  );
}

/** What is known of a job before anything in it was looked at. Its id is the platform's, or a stranger's. */
function subject({ id }: Job): { job: string } {
  return { job: id.slice(0, 100) };
}

/** Named one by one, so that nothing gets into the log because it is in an answer. */
function facts(answer: Answer) {
  const { model_id, width, height, processing_width, processing_height, dtype, warnings } = answer;
  const uploaded = answer.files.filter(({ url }) => url !== undefined).map(({ format }) => format);
  const isLeftOut = answer.image_base64 === null && !uploaded.includes('png');
  return {
    model: model_id,
    size: `${width}x${height}`,
    processed: `${processing_width}x${processing_height}`,
    dtype,
    ...(answer.ensemble_size > 1 && { ensemble: answer.ensemble_size }),
    bytes: Object.fromEntries(answer.files.map(({ format, bytes }) => [format, bytes])),
    ...(uploaded.length > 0 && { uploaded }),
    ...(isLeftOut && { picture: 'left out' }),
    ...(warnings.length > 0 && { warnings }),
    ms: answer.timings_ms,
  };
}

function factsOfImages({ images, failed, timings_ms }: ImagesAnswer) {
  return {
    images: images.length,
    failed,
    each: images.map((image) =>
      isFailure(image) ? { code: image.code, error: image.error } : facts(image),
    ),
    ms: timings_ms,
  };
}

/** A job that was made to end, told by why it was. */
function whyStopped({ reason }: AbortSignal, error: unknown): unknown {
  if (!(reason instanceof JobStopped)) return error;
  switch (reason.why) {
    case 'stopped':
      return new LotusError('cancelled', 'Cancelled.');
    case 'timed out':
      return new LotusError('timed_out', reason.message);
    case 'shutdown':
      return new LotusError('shutting_down', 'The worker is shutting down; send the job again.');
  }
}
