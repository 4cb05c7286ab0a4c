import { asLotusError, LotusError } from '../errors.ts';
import type { Answer } from '../job/answer.ts';
import { fitAnswer } from '../job/fit.ts';
import type { Log } from '../log.ts';
import { type Handler, type Job, JobStopped } from '../runpod/handler.ts';

interface HandlerOptions {
  /**
   * Runs a job; throws what the caller is to be told.
   *
   * @param maxAnswerBytes how many bytes of JSON the answer may have.
   */
  run(job: Job, signal: AbortSignal, maxAnswerBytes: number): Promise<Answer>;
  /** Gets one line a job. */
  log: Log;
}

/** The job as the queue and the local API know it: it answers always, with what was made or with what went wrong. */
export function jobHandler({ run, log }: HandlerOptions): Handler {
  return async (job, { signal, maxOutputBytes }) => {
    const since = performance.now();
    try {
      const answer = fitAnswer(await run(job, signal, maxOutputBytes), maxOutputBytes);
      const level = answer.file_path === null ? 'error' : 'info'; // the volume is of no use
      log[level]({ ...subject(job), outcome: 'completed', ...facts(answer) }, 'job');
      return answer;
    } catch (error) {
      const failure = asLotusError(signal.aborted ? whyStopped(signal, error) : error);
      const { code, status, message, cause } = failure;
      const ms = Math.round(performance.now() - since);
      const line = { ...subject(job), outcome: 'failed', code, status, error: message, ms };
      // The caller's mistakes are no errors of ours.
      if (status >= 500) log.error({ ...line, err: cause }, 'job');
      else log.info(line, 'job');
      return { error: message, status, code };
    }
  };
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
