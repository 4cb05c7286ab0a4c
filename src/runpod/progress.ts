import { afterAwake, pause } from '../time/awake.ts';
import { Backoff } from '../time/backoff.ts';
import { post } from './deliver.ts';
import type { HttpClient } from './http.ts';
import type { Timing } from './options.ts';

/** How often a report is tried, as the reference does with everything. */
const TRIES = 3;

/** More reports than this at once are more than anyone reads: the oldest gives way. */
const MAX_WAITING = 16;

export interface ProgressOptions {
  readonly jobId: string;
  readonly url: string;
  readonly limit: number;
  readonly timing: Timing;
  /** The platform has stopped the job. */
  readonly unwanted: AbortSignal;
  readonly onDrop: (error: string) => void;
}

/** The progress of one job: sent one report after the other, and none after the result. */
export class ProgressReports {
  readonly #client: HttpClient;
  readonly #options: ProgressOptions;
  readonly #waiting: Buffer[] = [];
  /** The result is there. */
  readonly #ended = new AbortController();
  /** The result waits no longer. */
  readonly #giveUp = new AbortController();
  #sending: Promise<void> | undefined;

  constructor(client: HttpClient, options: ProgressOptions) {
    this.#client = client;
    this.#options = options;
  }

  /** Never throws, never waits. What is reported is fixed now: the handler may go on with its object. */
  report(output: unknown): void {
    if (this.#ended.signal.aborted || this.#options.unwanted.aborted) return;
    const body = this.#serialise(output);
    if (body === null) return;
    this.#waiting.push(body);
    if (this.#waiting.length > MAX_WAITING) {
      this.#waiting.shift();
      this.#options.onDrop(`more than ${MAX_WAITING} reports were waiting`);
    }
    this.#sending ??= this.#sendAll();
  }

  /** No more reports. Resolves when the last is gone: soon, whatever becomes of it. */
  async end(): Promise<void> {
    this.#ended.abort();
    const stopClock = afterAwake(this.#options.timing.lastProgressMs, () => this.#giveUp.abort());
    await this.#sending;
    stopClock();
  }

  #serialise(output: unknown): Buffer | null {
    try {
      const body = Buffer.from(JSON.stringify({ status: 'IN_PROGRESS', output: output ?? null }));
      if (body.length <= this.#options.limit) return body;
      this.#options.onDrop(`it has ${body.length} bytes, more than ${this.#options.limit}`);
    } catch (error) {
      this.#options.onDrop(`it cannot be written as JSON: ${error}`);
    }
    return null;
  }

  async #sendAll(): Promise<void> {
    const over = AbortSignal.any([this.#giveUp.signal, this.#options.unwanted]);
    for (let body = this.#waiting.shift(); body; body = this.#waiting.shift()) {
      if (this.#options.unwanted.aborted) break;
      if (over.aborted) this.#options.onDrop('the result did not wait for it');
      else await this.#send(body, over);
    }
    this.#sending = undefined;
  }

  async #send(body: Buffer, over: AbortSignal): Promise<void> {
    const { timing, onDrop, unwanted } = this.#options;
    const backoff = new Backoff(timing.deliverPace);
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await post(this.#client, { ...this.#options, body }, over);
      if (outcome.kind === 'accepted' || unwanted.aborted) return;
      // With the result there, a report that fails is not worth a wait.
      const isLast = attempt === TRIES || outcome.kind === 'refused' || this.#ended.signal.aborted;
      if (isLast) return onDrop(outcome.error);
      await pause(outcome.waitMs ?? backoff.next(), AbortSignal.any([over, this.#ended.signal]));
    }
  }
}
