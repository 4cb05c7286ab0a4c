import { Backlog } from './backlog.ts';
import { BoundedOutbox } from './bounded-outbox.ts';
import { Change } from './change.ts';
import { type Counts, count, noCounts } from './counts.ts';
import { Delivered } from './delivered.ts';
import { type EndReason, forgiving, type Observer, type WorkerEvent } from './events.ts';
import type { Job } from './handler.ts';
import { HttpClient } from './http.ts';
import { JobTable } from './job-table.ts';
import {
  LIMITS,
  type Limits,
  TIMING,
  type Timing,
  USER_AGENT,
  WIRE_VERSION,
  type WorkerOptions,
} from './options.ts';
import type { Owed } from './outbox.ts';
import { Pinger } from './ping.ts';
import { canBatch, type Platform, takeUrlFor } from './platform.ts';
import { Recovery } from './recovery.ts';
import { RunningJob } from './running-job.ts';
import { Shutdown } from './shutdown.ts';
import { watchStopSignals } from './stop-signals.ts';
import { type Taken, type TakenJobs, takeJobs } from './take.ts';
import { keepTaking } from './taking.ts';
import { Work } from './work.ts';

/** How a worker ended. */
export interface Ending {
  readonly reason: EndReason;
  readonly counts: Readonly<Counts>;
}

/** A worker of a RunPod serverless endpoint: takes jobs, has a handler do them, delivers what it returns. */
export class RunPodWorker {
  readonly #options: WorkerOptions;
  readonly #platform: Platform;
  readonly #timing: Timing;
  readonly #limits: Limits;
  readonly #observer: Observer;
  readonly #client: HttpClient;
  readonly #pinger: Pinger | null;
  readonly #counts = noCounts();
  readonly #delivered = new Delivered();
  readonly #jobs = new JobTable();
  /** Mistakes of our own. */
  readonly #mistakes: unknown[] = [];
  readonly #shutdown: Shutdown;
  readonly #backlog: Backlog;
  readonly #outbox: BoundedOutbox | null;
  readonly #recovery: Recovery | null;
  readonly #work: Work;
  readonly #changed = new Change();
  readonly #over = new AbortController();
  #reason: EndReason = 'stopped';
  #started = false;
  #isPaused = false;
  #lastWord: Promise<void> = Promise.resolve();

  constructor(options: WorkerOptions) {
    const { platform, userAgent = USER_AGENT, wireVersion = WIRE_VERSION } = options;
    this.#options = options;
    this.#platform = platform;
    this.#timing = { ...TIMING, ...options.timing };
    this.#limits = { ...LIMITS, ...options.limits };
    this.#shutdown = new Shutdown(this.#timing, this.#jobs);
    this.#backlog = new Backlog(options);
    const { concurrency = 1 } = options;
    const tell = forgiving(options.observer);
    this.#observer = (event: WorkerEvent) => {
      count(this.#counts, event);
      if (event.type === 'delivered') this.#delivered.add(event.id);
      tell(event);
    };
    const observer = this.#observer;
    this.#work = this.#newWork(concurrency);
    const { outbox } = options;
    this.#outbox = outbox ? new BoundedOutbox(outbox, this.#timing.outboxMs, observer) : null;
    this.#recovery = this.#outbox && this.#newRecovery(this.#outbox);
    const onThaw = (afterMs: number) => observer({ type: 'thawed', afterMs });
    this.#client = new HttpClient(platform.key, userAgent, onThaw);
    const { ping } = platform;
    this.#pinger = ping && new Pinger({ ...platform, ping }, { userAgent, wireVersion, observer });
  }

  /** What has happened so far. */
  get counts(): Readonly<Counts> {
    return { ...this.#counts };
  }

  /**
   * Works until `stop`, `unfit`, or a job that asks for a fresh worker; then until all results are delivered. A mistake
   * of our own ends it as `stop` does, and is what it rejects with then.
   */
  async run(): Promise<Ending> {
    if (this.#started) throw new Error('This worker has been run: make another one.');
    this.#started = true;
    this.#pinger?.start();
    const stopSignals = this.#guard(() => this.#watchStopSignals());
    // Before the first job: the platform may hand out again what is only to be delivered.
    await this.#guard(async () => await this.#recovery?.look());
    const recovering = this.#guard(async () => await this.#recovery?.keepLooking());
    await this.#guard(() => this.#takeUntilStopped());
    this.#shutdown.lastJobsTaken();
    await recovering;
    await this.#jobs.empty();
    this.#over.abort();
    await stopSignals;
    await this.#close();
    const [mistake, ...more] = this.#mistakes;
    if (more.length > 0) throw new AggregateError(this.#mistakes, 'The worker made mistakes.');
    if (mistake !== undefined) throw mistake;
    return { reason: this.#reason, counts: this.counts };
  }

  /**
   * As on SIGTERM: takes no more jobs, finishes those that run within the grace time, aborts what is left then,
   * and delivers. The request for jobs that is open is waited for a little, because the platform may have given
   * it a job already. Harmless when called again.
   */
  stop(): void {
    this.#end('stopped');
  }

  /** Asks for no jobs until `resume`: what does the work is down for a while. The request that is open stays. */
  pause(): void {
    this.#isPaused = true;
  }

  /**
   * Asks for jobs again.
   *
   * @param concurrency how many are worked on at the same time from now on; default: as before.
   */
  resume(concurrency?: number): void {
    this.#isPaused = false;
    if (concurrency !== undefined) this.#work.concurrency = concurrency;
    this.#notify();
  }

  /**
   * The worker cannot do its work any more: tells the platform why, and stops. Works before `run` too.
   * Resolves when the platform has heard it, or soon.
   */
  async unfit(check: string, reason: string): Promise<void> {
    const told = this.#platform.key.redact(reason);
    this.#observer({ type: 'unfit', check, reason: told });
    this.#lastWord = this.#pinger?.unfit(check, told) ?? Promise.resolve();
    this.#end('unfit');
    await this.#lastWord;
    if (!this.#started) await this.#close();
  }

  /** Never rejects: whatever goes wrong in one place, what is under way in the others is finished. */
  async #guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#mistakes.push(error);
      this.#end('stopped');
    }
  }

  #end(reason: EndReason): void {
    if (reason === 'unfit') this.#reason = reason;
    if (this.#shutdown.stopping.aborted) return;
    this.#reason = reason;
    this.#observer({ type: 'stopping', reason, inProgress: this.#jobs.size });
    this.#shutdown.begin();
    this.#notify();
  }

  async #close(): Promise<void> {
    this.#shutdown.close();
    await this.#lastWord;
    await this.#pinger?.close();
    await this.#client.close();
  }

  async #takeUntilStopped(): Promise<void> {
    const taking = {
      slots: () => this.#slots(),
      take: (wanted: number) => this.#take(wanted),
      accept: (taken: TakenJobs) => this.#work.accept(taken),
      timing: this.#timing,
      observer: this.#observer,
    };
    await keepTaking(taking, this.#shutdown.stopping);
  }

  /** Waits until there is something to ask for. @returns how many jobs; 0 when we stop. */
  async #slots(): Promise<number> {
    for (let told = false; !this.#shutdown.stopping.aborted; await this.#changed.next) {
      const { free } = this.#work;
      const { isFull, size } = this.#backlog;
      if (free > 0 && !isFull && !this.#isPaused) return canBatch(this.#platform) ? free : 1;
      if (isFull && !told) this.#observer({ type: 'backed-up', ...size });
      told = isFull;
    }
    return 0;
  }

  #take(wanted: number): Promise<Taken> {
    return takeJobs(this.#client, {
      url: takeUrlFor(this.#platform, wanted, this.#jobs.wantedIds().length > 0),
      takeMs: this.#timing.takeMs,
      rateLimitedMs: this.#timing.rateLimitedMs,
      giveUp: this.#shutdown.giveUpTake,
    });
  }

  #newWork(concurrency: number): Work {
    return new Work({
      concurrency,
      jobs: this.#jobs,
      backlog: this.#backlog,
      changed: this.#changed,
      observer: this.#observer,
      newJob: (job, owed) => this.#newJob(job, owed),
      onRefresh: () => this.#end('refresh'),
      onChange: () => this.#notify(),
      guard: (work) => this.#guard(work),
    });
  }

  #newRecovery(outbox: BoundedOutbox): Recovery {
    const recovery: Recovery = new Recovery({
      outbox,
      jobs: this.#jobs,
      delivered: this.#delivered,
      backlog: this.#backlog,
      changed: this.#changed,
      limits: this.#limits,
      timing: this.#timing,
      observer: this.#observer,
      stopping: this.#shutdown.stopping,
      begin: (owed) => this.#work.resume(owed, recovery),
    });
    return recovery;
  }

  #newJob(job: Job, owed?: Owed): RunningJob {
    return new RunningJob(job, {
      handler: this.#options.handler,
      platform: this.#platform,
      client: this.#client,
      limits: this.#limits,
      timing: this.#timing,
      observer: this.#observer,
      outbox: this.#outbox,
      owed,
    });
  }

  async #watchStopSignals(): Promise<void> {
    const { stopUrl: url } = this.#platform;
    if (url === null) return;
    const onStop = (id: string) => {
      this.#jobs.get(id)?.stop();
      this.#notify();
    };
    const options = { url, timing: this.#timing, onStop, observer: this.#observer };
    await watchStopSignals(this.#client, options, this.#over.signal);
  }

  /** Whoever waits for a change looks again. */
  #notify(): void {
    this.#pinger?.setJobs(this.#jobs.wantedIds());
    this.#changed.notify();
  }
}
