import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAwake } from '../time/awake.ts';
import { settlesWithin } from '../time/waiting.ts';
import type { Observer } from './events.ts';
import type { PingData, PingOrder, PingReport } from './ping-thread.ts';
import type { Platform } from './platform.ts';

/** From TypeScript's sources the thread is one of them, and from `dist/` one of those. */
const THREAD = new URL(`./ping-thread${path.extname(import.meta.url)}`, import.meta.url);

/** A thread that died is replaced, but not more often than this. */
const RESTART_MS = 1_000;

/** How long an ending worker waits for its last word to be heard. The reference waits 2 s for its own. */
const LAST_WORD_MS = 5_000;

/** The reference's. */
const MAX_REASON = 256;

export interface PingerOptions {
  readonly userAgent: string;
  readonly wireVersion: string;
  readonly observer: Observer;
}

/** Tells the platform that we are alive, and what we work on. */
export class Pinger {
  readonly #data: Omit<PingData, 'orders'>;
  readonly #observer: Observer;
  readonly #told = Promise.withResolvers<void>();
  #thread: Worker | undefined;
  #jobs: PingOrder = { type: 'jobs', ids: [] };
  #unfit: PingOrder | undefined;
  #cancelRestart = () => {};

  constructor(
    { key, ping }: Platform & { ping: NonNullable<Platform['ping']> },
    { userAgent, wireVersion, observer }: PingerOptions,
  ) {
    this.#data = { ...ping, key: key.reveal(), userAgent, wireVersion };
    this.#observer = observer;
  }

  /** The first ping goes out at once. Harmless when it was started already. */
  start(): void {
    if (this.#thread) return;
    const orders = this.#unfit ? [this.#jobs, this.#unfit] : [this.#jobs];
    const workerData: PingData = { ...this.#data, orders };
    const thread = new Worker(THREAD, { workerData, env: {}, name: 'runpod-ping' });
    this.#thread = thread;
    thread.on('message', (report: PingReport) => this.#hear(report));
    thread.on('error', (error) => this.#fail(String(error)));
    thread.on('exit', () => {
      if (this.#thread !== thread) return; // it was ended by us
      this.#thread = undefined;
      this.#cancelRestart = afterAwake(RESTART_MS, () => this.start());
    });
    thread.unref();
  }

  /** What is worked on from now on. */
  setJobs(ids: readonly string[]): void {
    this.#jobs = { type: 'jobs', ids };
    this.#tell(this.#jobs);
  }

  /** Tells at once, and with every ping from now on, that we are of no use. Waits a little until it is heard. */
  async unfit(check: string, reason: string): Promise<void> {
    this.#unfit = { type: 'unfit', check, reason: reason.slice(0, MAX_REASON) };
    this.#tell(this.#unfit);
    this.start();
    await settlesWithin(this.#told.promise, LAST_WORD_MS);
  }

  async close(): Promise<void> {
    this.#cancelRestart();
    const thread = this.#thread;
    this.#thread = undefined;
    await thread?.terminate();
  }

  #hear(report: PingReport): void {
    if (report.type === 'failed') this.#fail(report.error);
    else this.#told.resolve();
  }

  #fail(error: string): void {
    this.#observer({ type: 'ping-failed', error });
  }

  #tell(order: PingOrder | undefined): void {
    if (order) this.#thread?.postMessage(order);
  }
}
