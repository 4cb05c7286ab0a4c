import { setImmediate as nextTurn } from 'node:timers/promises';
import { asLotusError, isCancelled, LotusError } from '../errors.ts';
import type { Log } from '../log.ts';
import { pause } from '../time/awake.ts';
import { Backoff, type Pace } from '../time/backoff.ts';
import { type Crash, CrashBudget, type CrashLimits } from './crash-budget.ts';
import { Growth, privateMemory } from './memory.ts';
import { type Ending, Unkillable, type WaitOptions, type WorkerProcess } from './process.ts';
import type { Ready, Result, RunRequest } from './protocol.ts';
import { askForSigns } from './signs.ts';
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

/** A process that has not survived a run. */
export interface Death {
  readonly error: LotusError;
  readonly crash: Crash;
  /** Whether the run had begun: a process that was dead already is not its fault. */
  readonly hadBegun: boolean;
}

export interface RunOptions extends WaitOptions {
  onDeath(death: Death): void;
}

/** The process has not survived a run; `onDeath` has been told. */
export class ProcessDied extends Error {
  override readonly name = 'ProcessDied';
  override readonly cause: LotusError;

  constructor(cause: LotusError) {
    super(cause.message, { cause });
    this.cause = cause;
  }
}

/**
 * Keeps one place filled with a process that can run: starts it, asks for signs of life, and puts another in its place
 * when it has died or grown too large. It gives up when it dies too often, and at once when the first says in good order
 * that it will never load, or when one cannot be killed.
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
  /** Of the process that is dying, where it was seen to in a run. */
  #crash: Crash | undefined;
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

  /** What the last process ended by that nobody wanted to end, or why it has given up. */
  get failure(): LotusError | undefined {
    return this.#failure;
  }

  /**
   * Run one image; only when it is idle.
   *
   * @throws LotusError as `WorkerProcess.run` does; `ProcessDied` when the process has not survived it.
   */
  async run(request: Omit<RunRequest, 'type' | 'id'>, wait: RunOptions): Promise<Ran> {
    const started = this.#started;
    if (!this.isIdle || !started) throw new Error(`a ${this.#state} place cannot run`);
    this.#isRunning = true;
    const { process, ready } = started;
    let hasBegun = false;
    const onStage: WaitOptions['onStage'] = (...stage) => {
      hasBegun = true;
      wait.onStage?.(...stage);
    };
    try {
      const result = await process.run(request, { ...wait, onStage });
      this.#budget.worked();
      this.#backoff.reset();
      return { result, ready };
    } catch (error) {
      if (process.isUsable || !(error instanceof LotusError)) throw error;
      // Whoever gave it up may have had to wait in vain, and the process had to be killed: that says little about it.
      this.#crash = { isForgiven: isCancelled(error) };
      if (isCancelled(error)) throw error;
      // At once, and not when this is heard of: whose fault it was decides about the place's next start.
      wait.onDeath({ error, crash: this.#crash, hadBegun: hasBegun });
      throw new ProcessDied(error);
    } finally {
      this.#afterRun(process);
    }
  }

  /** End its process, and start no other. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#started?.process.stop();
    await this.#life;
  }

  async #live(): Promise<void> {
    let goesOn = true;
    while (goesOn && !this.#stopping.signal.aborted) {
      const ending = await this.#oneLife();
      if (this.#stopping.signal.aborted) break;
      if (ending.kind !== 'stopped') goesOn = await this.#recover(ending.error);
    }
    if (this.#state !== 'failed') this.#enter('stopped');
  }

  /** One process, from its start to its end. */
  async #oneLife(): Promise<Ending> {
    this.#crash = undefined;
    try {
      this.#started = await this.#options.start(this.#stopping.signal);
    } catch (error) {
      return { kind: 'crashed', error: asLotusError(error) };
    }
    this.#starts += 1;
    this.#growth = new Growth(this.#options.maxGrowth);
    this.#enter('up');
    const { process } = this.#started;
    if (this.#stopping.signal.aborted) void process.stop(); // `stop` has met the one before it
    const ended = new AbortController();
    const signs = askForSigns(process, this.#options.livenessMs, ended.signal);
    const ending = await process.ended;
    ended.abort();
    await signs;
    return ending;
  }

  /** Decides what comes after an end that nobody wanted. @returns whether another process is to be started. */
  async #recover(error: LotusError): Promise<boolean> {
    this.#failure = error;
    // One that cannot be killed has the card for itself.
    const isHopeless = this.#starts === 0 && saysSo(error);
    if (error instanceof Unkillable || isHopeless) return this.#giveUp(error);
    await nextTurn(); // the run that it died in hears of it, and says whose fault that was
    this.#budget.spend(this.#crash ?? { isForgiven: false });
    const { excess } = this.#budget;
    if (excess !== null) return this.#giveUp(tooOften(error, excess));
    const waitMs = Math.round(this.#backoff.next());
    this.#options.log.warn({ wait_ms: waitMs }, 'starting the model process again');
    this.#enter('waiting');
    await pause(waitMs, this.#stopping.signal);
    if (this.#stopping.signal.aborted) return false;
    this.#enter('starting');
    return true;
  }

  #giveUp(error: LotusError): false {
    this.#failure = error;
    this.#options.log.error({ err: error.cause ?? error }, `given up: ${error.message}`);
    this.#enter('failed');
    return false;
  }

  #afterRun(process: WorkerProcess): void {
    const bytes = process.pid === undefined ? null : privateMemory(process.pid);
    const grown = bytes === null ? null : this.#growth.tooMuch(bytes);
    this.#isRunning = false;
    if (grown !== null && process.isUsable && this.#state === 'up') {
      const { log } = this.#options;
      log.warn({ grown, bytes }, 'the model process has grown: another takes its place');
      this.#enter('starting');
      void process.stop(); // its end is what the next one is started by
    } else {
      this.#options.onChange();
    }
  }

  #enter(state: PlaceState): void {
    this.#options.log.trace({ from: this.#state, to: state }, 'model place');
    this.#state = stepOfPlace(this.#state, state);
    this.#options.onChange();
  }
}

/** Whether a process has said in good order that it cannot load, as it would again. */
function saysSo({ code, cause }: LotusError): boolean {
  return (
    code === 'model_unavailable' &&
    cause instanceof LotusError &&
    (cause.code === 'model_unavailable' || cause.code === 'timed_out')
  );
}

function tooOften(last: LotusError, excess: string): LotusError {
  return new LotusError(
    'model_unavailable',
    `The model process has crashed too often, ${excess} (LOTUS_MAX_CRASHES), and is not started again. The` +
      ` last time: ${last.message}`,
    { cause: last },
  );
}
