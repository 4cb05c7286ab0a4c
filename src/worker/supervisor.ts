import { asLotusError, isCancelled, LotusError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { pause } from '../runpod/awake.ts';
import { Backoff, type Pace } from '../runpod/backoff.ts';
import { CrashBudget, type CrashLimits } from './crash-budget.ts';
import { Growth, privateMemory } from './memory.ts';
import type { WaitOptions, WorkerProcess } from './process.ts';
import type { Ready, Result, RunRequest } from './protocol.ts';
import type { Started } from './start.ts';
import { type PlaceState, stepOfPlace } from './state.ts';

export interface SupervisorOptions {
  /** Starts a process and has it load the model. Throws `model_unavailable`, or `cancelled` by the signal. */
  start(signal: AbortSignal): Promise<Started>;
  readonly crashes: CrashLimits;
  /** Between a crash and the next start. */
  readonly pace: Pace;
  /** Milliseconds without a sign of life after which a process is taken for dead. */
  readonly livenessMs: number;
  /** Bytes that a process may grow by before a fresh one takes its place. */
  readonly maxGrowth: number;
  readonly log: Log;
  /** Something has changed: it can run, or cannot any more. */
  onChange(): void;
}

/** A map, and what has computed it. */
export interface Ran {
  readonly result: Result;
  readonly ready: Ready;
}

/** The process has not survived a run. */
export class ProcessDied extends Error {
  override readonly name = 'ProcessDied';
  override readonly cause: LotusError;
  /** It was the image's fault, and does not count against the process. */
  readonly forgive: () => void;

  constructor(cause: LotusError, forgive: () => void) {
    super(cause.message);
    this.cause = cause;
    this.forgive = forgive;
  }
}

/** So often within the time that it has, a process is asked for a sign of life. */
const PINGS = 3;

/**
 * Keeps one place filled with a process that can run: starts it, asks for signs of life, and puts another in its place
 * when it has died or grown too large. It gives up when it dies too often, and at once when it says in good order that
 * it will never load.
 */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #budget: CrashBudget;
  readonly #backoff: Backoff;
  readonly #stopping = new AbortController();
  readonly #life: Promise<void>;
  #state: PlaceState = 'starting';
  #started: Started | undefined;
  #growth: Growth;
  #isRunning = false;
  #starts = 0;
  #failure: LotusError | undefined;

  /** Begins at once. */
  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#budget = new CrashBudget(options.crashes);
    this.#backoff = new Backoff(options.pace);
    this.#growth = new Growth(options.maxGrowth);
    this.#life = this.#live();
  }

  get state(): PlaceState {
    return this.#state;
  }

  /** Whether it has a process that runs images. */
  get isUp(): boolean {
    return this.#state === 'up' && this.#started?.process.isUsable === true;
  }

  /** Whether it can take a run now. */
  get isIdle(): boolean {
    return this.isUp && !this.#isRunning;
  }

  /** What it runs, and on what; undefined before the first process was ready. */
  get started(): Started | undefined {
    return this.#started;
  }

  /** How often a process was started again. */
  get restarts(): number {
    return Math.max(0, this.#starts - 1);
  }

  /** Why it has given up. */
  get failure(): LotusError | undefined {
    return this.#failure;
  }

  /**
   * Run one image; only when it is idle.
   *
   * @throws LotusError as `WorkerProcess.run` does; `ProcessDied` when the process has not survived it.
   */
  async run(request: Omit<RunRequest, 'type' | 'id'>, wait: WaitOptions): Promise<Ran> {
    const started = this.#started;
    if (!this.isIdle || !started) throw new Error(`a ${this.#state} place cannot run`);
    this.#isRunning = true;
    const { process, ready } = started;
    try {
      const result = await process.run(request, wait);
      this.#budget.worked();
      this.#backoff.reset();
      return { result, ready };
    } catch (error) {
      if (process.isUsable || !isDeath(error)) throw error;
      throw new ProcessDied(error, () => this.#budget.forgive());
    } finally {
      void this.#afterRun(process);
    }
  }

  /** End its process, and start no other. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#started?.process.stop();
    await this.#life;
  }

  async #live(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const end = await this.#oneLife();
      if (end !== null && !(await this.#recover(end))) break;
    }
    if (this.#state !== 'failed') this.#enter('stopped');
  }

  /** One process, from its start to its end. @returns why it has ended; null when we wanted it to. */
  async #oneLife(): Promise<LotusError | null> {
    try {
      this.#started = await this.#options.start(this.#stopping.signal);
    } catch (error) {
      return isCancelled(error) ? null : asLotusError(error);
    }
    this.#starts += 1;
    this.#growth = new Growth(this.#options.maxGrowth);
    this.#enter('up');
    const ended = new AbortController();
    const { process } = this.#started;
    const watch = this.#askForSigns(ended.signal);
    const why = await process.ended;
    ended.abort();
    await watch;
    return why && asLotusError(why);
  }

  /** Decides what comes after an end that nobody wanted. @returns whether another process is to be started. */
  async #recover(end: LotusError): Promise<boolean> {
    const { log, crashes } = this.#options;
    if (this.#stopping.signal.aborted) return false;
    if (isCancelled(end)) {
      this.#enter('starting'); // it was killed because it would not let go of a run that nobody wanted
      return true;
    }
    const isOver = this.#budget.spend();
    if (this.#starts === 0 || isHopeless(end) || isOver) {
      this.#giveUp(isOver && this.#starts > 0 ? tooOften(end, crashes) : end);
      return false;
    }
    const waitMs = this.#backoff.next();
    const crash = `${this.#budget.spent} of ${crashes.max}`;
    log.warn({ crash, wait_ms: Math.round(waitMs) }, 'starting the model process again');
    this.#enter('waiting');
    await pause(waitMs, this.#stopping.signal);
    if (this.#stopping.signal.aborted) return false;
    this.#enter('starting');
    return true;
  }

  #giveUp(error: LotusError): void {
    this.#failure = error;
    this.#enter('failed');
  }

  /** A process that gives no sign of life is killed by that: it ends, as by a crash. */
  async #askForSigns(ended: AbortSignal): Promise<void> {
    const { livenessMs } = this.#options;
    const process = this.#started?.process;
    for (;;) {
      await pause(livenessMs / PINGS, ended);
      if (ended.aborted || !process?.isUsable) return;
      // What comes in its place is what it has ended by, which is told there.
      await process.ping(livenessMs).catch(() => {});
    }
  }

  async #afterRun(process: WorkerProcess): Promise<void> {
    const bytes = process.pid === undefined ? null : await privateMemory(process.pid);
    const grown = bytes === null ? null : this.#growth.tooMuch(bytes);
    if (grown !== null && process.isUsable && this.#state === 'up') {
      this.#options.log.warn(
        { grown, bytes },
        'the model process has grown: another takes its place',
      );
      this.#enter('starting');
      await process.stop(); // its memory must be free before the next one loads
    }
    this.#isRunning = false;
    this.#options.onChange();
  }

  #enter(state: PlaceState): void {
    this.#options.log.debug({ from: this.#state, to: state }, 'model place');
    this.#state = stepOfPlace(this.#state, state);
    this.#options.onChange();
  }
}

/** What was given up is not tried again, though the process may have had to be killed for it. */
function isDeath(error: unknown): error is LotusError {
  return error instanceof LotusError && error.code !== 'cancelled' && error.code !== 'timed_out';
}

/** Whether a process has said in good order that it cannot load, as it would again. */
function isHopeless({ code, cause }: LotusError): boolean {
  return (
    code === 'model_unavailable' &&
    cause instanceof LotusError &&
    cause.code === 'model_unavailable'
  );
}

function tooOften(last: LotusError, { max, windowMs }: CrashLimits): LotusError {
  return new LotusError(
    'model_unavailable',
    `The model process has crashed ${max} times in a row or in ${windowMs / 1000} s, and is not started` +
      ` again. The last time: ${messageOf(last)}`,
    { cause: last },
  );
}
