import type { ErrorCode } from '../../src/errors.ts';

/** One job of the corpus, and how it must end. */
export interface Case {
  /** What is odd about it. */
  readonly name: string;
  /** The job's input, without its key. */
  readonly input: Record<string, unknown>;
  /** null: it is answered. */
  readonly code: ErrorCode | null;
}
