import { setTimeout as sleep } from 'node:timers/promises';
import { LotusError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { FetchOptions, FetchPolicy } from '../net/fetch.ts';
import { checkPostUrl, postJson } from '../net/post.ts';
import { ApiError } from './errors.ts';
import type { JobAnswer } from './job.ts';

export interface WebhookOptions {
  /** What may be posted to. */
  readonly policy: FetchPolicy;
  /** Waits between tries, in milliseconds; so many more tries there are. Default: as the platform, two of 10 s. */
  readonly pauses?: readonly number[];
  /** What results may have together that are under way; for tests. */
  readonly maxBytes?: number;
  /** For tests. */
  readonly fetch?: FetchOptions;
}

const PAUSES = [10_000, 10_000];
/** What is under way, by number and by size: each holds a result. Beyond this, the job's own answer has to do. */
const MAX_POSTING = 100;
const MAX_POSTING_BYTES = 256_000_000;

/** Posts the answers of jobs to the addresses that their callers gave, beside everything else. */
export class Webhooks {
  readonly #options: WebhookOptions;
  readonly #log: Log;
  readonly #posting = new Map<Promise<void>, number>();
  readonly #stop = new AbortController();

  constructor(options: WebhookOptions, log: Log) {
    this.#options = options;
    this.#log = log;
  }

  /** @throws ApiError `invalid_request` for an address that is never posted to. */
  check(url: string): void {
    try {
      checkPostUrl(url, this.#options.policy, 'webhook');
    } catch (error) {
      throw new ApiError('invalid_request', messageOf(error), { cause: error });
    }
  }

  /** Its failure is logged; the job is not touched by it. */
  send(url: string, answer: JobAnswer): void {
    const json = JSON.stringify(answer);
    const bytes = [...this.#posting.values()].reduce((sum, each) => sum + each, json.length);
    const { maxBytes = MAX_POSTING_BYTES } = this.#options;
    if (this.#posting.size >= MAX_POSTING || bytes > maxBytes) {
      this.#log.error({ id: answer.id }, 'too many webhooks are under way: not posted');
      return;
    }
    const posting = this.#send(url, json, answer.id).finally(() => this.#posting.delete(posting));
    this.#posting.set(posting, json.length);
  }

  /** Waits so long for those that are under way, and gives up the rest. */
  async close(ms: number): Promise<void> {
    const over = setTimeout(() => this.#stop.abort(), ms);
    await Promise.all(this.#posting.keys());
    clearTimeout(over);
  }

  async #send(url: string, json: string, id: string): Promise<void> {
    const { policy, pauses = PAUSES, fetch = {} } = this.#options;
    const { signal } = this.#stop;
    for (let tried = 0; ; tried += 1) {
      try {
        return await postJson(url, json, 'webhook', policy, { ...fetch, signal });
      } catch (error) {
        const pause = pauses[tried];
        const isHopeless = error instanceof LotusError && error.code !== 'fetch_failed';
        this.#log.warn({ id, tried: tried + 1 }, messageOf(error));
        if (isHopeless || pause === undefined || signal.aborted) return;
        await sleep(pause, undefined, { signal }).catch(() => {}); // closing; the next try says so
      }
    }
  }
}
