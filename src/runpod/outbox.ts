/** A result of a job, as its handler returned it or as it failed. */
export interface Kept {
  readonly jobId: string;
  /** What JSON can write. */
  readonly output: unknown;
}

/** A result that was kept and not forgotten. */
export interface Owed {
  readonly jobId: string;
  /** The worker that took the job: the platform expects the result in its name. */
  readonly workerId: string;
  /** How long ago it was made, in milliseconds. */
  readonly ageMs: number;
  /**
   * Reads what was kept; it may be large, and is asked for when its turn has come.
   *
   * @param maxOutputBytes how many bytes of JSON, in UTF-8, the answer may have.
   * @returns null when it is there no more: another worker has taken it over.
   */
  read(maxOutputBytes: number): Promise<{ output: unknown } | null>;
}

/**
 * Where results outlive the worker that made them. Each is kept before it is posted for the first time, and forgotten
 * when the platform has it, has refused it for good, or does not want it any more.
 *
 * Every call may fail, and may hang: it is waited for a while, told as an event, and costs no delivery. `keep` and
 * `forget` of one job never overlap.
 */
export interface Outbox {
  /** A result that was kept for the job before is replaced. */
  keep(result: Kept): Promise<void>;
  /** Also where nothing was kept for it. */
  forget(jobId: string): Promise<void>;
  /**
   * What is kept for this worker to deliver: by a worker of its id before it, and by others that are surely gone. What
   * it has in hand itself may be among it. The first are delivered first. It is not asked again before it has answered.
   */
  owed(): Promise<readonly Owed[]>;
}
