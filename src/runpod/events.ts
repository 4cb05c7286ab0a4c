import type { StopCause } from './handler.ts';

/**
 * What happens in a worker, for logs and metrics. Nothing here has a job's input or output, nor the
 * platform's key.
 */
export type WorkerEvent =
  | { type: 'taken'; id: string }
  /** Not a job: it is answered with an error when it has an id, and goes no further. */
  | { type: 'malformed'; id: string | null; problem: string }
  /** A second copy of a job that runs or is being delivered: not run again. */
  | { type: 'duplicate'; id: string }
  /** The platform stopped the job: nothing more is posted for it. */
  | { type: 'stopped'; id: string; during: 'run' | 'delivery' }
  /** The job's signal was aborted by us. */
  | { type: 'aborted'; id: string; why: StopCause }
  /** The handler did not return after the shutdown: the job is the platform's to hand out again. */
  | { type: 'abandoned'; id: string }
  /** The handler has ended. `bytes`: of the body to be posted. */
  | { type: 'finished'; id: string; failed: boolean; ms: number; bytes: number }
  /** The handler returned more than the platform takes; an error goes out in its place. */
  | { type: 'oversized'; id: string; bytes: number; limit: number }
  /** What the handler threw, for the log: the caller gets its message alone. */
  | { type: 'handler-threw'; id: string; error: unknown }
  /** `repeats`: posts that left us after one that may have arrived. */
  | { type: 'delivered'; id: string; attempts: number; repeats: number; ms: number; bytes: number }
  /** `mayHaveArrived`: it may be that only the acknowledgement was lost, so the next try may repeat it. */
  | {
      type: 'delivery-retried';
      id: string;
      attempt: number;
      error: string;
      waitMs: number;
      mayHaveArrived: boolean;
    }
  /**
   * A result is lost: the platform refuses it for good, or has not taken it for too long. `mayHaveArrived`:
   * unless an earlier try arrived, and the refusal means just that.
   */
  | {
      type: 'dropped';
      id: string;
      error: string;
      attempts: number;
      repeats: number;
      bytes: number;
      mayHaveArrived: boolean;
    }
  /** A result that a former worker has left goes out now; it may have arrived already. `worker`: who made it. */
  | { type: 'recovered'; id: string; worker: string; ageMs: number; bytes: number }
  /** A result that a former worker has left is let go: this one has delivered the job itself since it was made. */
  | { type: 'superseded'; id: string; worker: string; ageMs: number }
  /**
   * A result that a former worker has left is let go: the platform would take it no more. It is lost, unless that worker
   * had delivered it: `mayHaveArrived`, for nobody can know.
   */
  | { type: 'expired'; id: string; worker: string; ageMs: number; mayHaveArrived: true }
  /** A result is in memory alone until it is delivered. */
  | { type: 'keep-failed'; id: string; error: string }
  /** A result that is done with is still kept: it may be delivered again. */
  | { type: 'forget-failed'; id: string; error: string }
  /** What former workers have left cannot be found out, or one result of it not read; it is tried again. */
  | { type: 'recover-failed'; id: string | null; error: string }
  | { type: 'progress-dropped'; id: string; error: string }
  /** So many results wait to be delivered that no job is taken. */
  | { type: 'backed-up'; results: number; bytes: number }
  | { type: 'take-failed'; error: string; waitMs: number }
  | { type: 'stop-poll-failed'; error: string; waitMs: number }
  | { type: 'ping-failed'; error: string }
  | { type: 'unfit'; check: string; reason: string }
  /** The process stood still, frozen or blocked: connections from before are not used again. */
  | { type: 'thawed'; afterMs: number }
  /** No more jobs are taken. */
  | { type: 'stopping'; reason: EndReason; inProgress: number };

/** Why a worker ended: it was told to, it was declared unfit, or a job asked for a fresh one. */
export type EndReason = 'stopped' | 'unfit' | 'refresh';

/** Sees every event, in order. It must not throw. */
export type Observer = (event: WorkerEvent) => void;

/** An observer whose mistakes are warnings of the process, and never the end of a job. */
export function forgiving(observer: Observer | undefined): Observer {
  return (event) => {
    try {
      observer?.(event);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  };
}
