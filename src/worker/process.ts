import { asLotusError, cancelled, isCancelled, LotusError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { afterAwake } from '../time/awake.ts';
import { settlesWithin } from '../time/waiting.ts';
import { Child, type End, type WorkerCommand } from './child.ts';
import {
  type Answers,
  type Asked,
  Conversation,
  type OnStage,
  type Pending,
} from './conversation.ts';
import {
  type Hello,
  type LoadRequest,
  PROTOCOL_VERSION,
  type Ready,
  type Result,
  type RunRequest,
} from './protocol.ts';
import { type State, step } from './state.ts';

/** How long, in milliseconds awake, we wait for the process before the next rung of the ladder. */
export interface Patience {
  /** From the start to `hello`: Python itself, from a cold disk. */
  readonly hello: number;
  /** From `cancel` to the end of the run: one stage, which a kernel cannot be stopped in. */
  readonly cancel: number;
  /** From `shutdown` to SIGTERM, and from SIGTERM to SIGKILL. */
  readonly stop: number;
}

const PATIENCE: Patience = { hello: 60_000, cancel: 30_000, stop: 5_000 };

/** A process that has not ended though it was killed: it holds what it has, its card among it. */
export class Unkillable extends LotusError {
  constructor(how: string) {
    super('model_unavailable', `The model process hangs: ${how}`);
  }
}

/** How a process has ended: as it was told to, or with an error; an `Unkillable` has not. */
export type Ending =
  | { readonly kind: 'stopped' }
  | { readonly kind: 'crashed'; readonly error: LotusError };

export interface WaitOptions {
  /** Milliseconds awake until the process is given up. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  onStage?: OnStage | undefined;
}

/**
 * One Python process, from its start to its end. It loads one model and runs one image at a time.
 *
 * Every wait is bounded and every end is told apart: an error of the job leaves the process `ready`; a
 * process that dies, breaks the protocol or stops answering is `crashed`, with its last words in the
 * error's cause.
 */
export class WorkerProcess {
  readonly #child: Child;
  readonly #conversation: Conversation;
  readonly #log: Log;
  readonly #patience: Patience;
  readonly #hello = Promise.withResolvers<Hello>();
  readonly #gone: Promise<Ending>;
  #state: State = 'starting';
  #broken: Error | undefined;

  private constructor(command: WorkerCommand, log: Log, patience: Patience) {
    this.#log = log;
    this.#patience = patience;
    this.#conversation = new Conversation((text) => this.#child.write(text), {
      onHello: (hello) => this.#hello.resolve(hello),
      onAnswered: (asked) => {
        if (asked === 'run' && this.#state === 'running') this.#enter('ready');
      },
      onUnhealthy: (error) => this.#fail(error),
      onBroken: (how) => this.#fail(this.#crash('it broke the protocol', how)),
    });
    // Rejections are delivered to whoever waits; nobody may be waiting.
    this.#hello.promise.catch(() => {});
    this.#child = new Child(command, log, patience.stop, (chunk) => this.#conversation.hear(chunk));
    this.#gone = this.#child.ended.then((end) => this.#onExit(end));
  }

  /**
   * Start a process and wait until it has said hello.
   *
   * @throws LotusError `model_unavailable` when it cannot be started, says something else or nothing,
   *   or speaks another version of the protocol.
   */
  static async start(
    command: WorkerCommand,
    log: Log,
    { signal, ...patience }: Partial<Patience> & { signal?: AbortSignal | undefined } = {},
  ): Promise<WorkerProcess> {
    const worker = new WorkerProcess(command, log, { ...PATIENCE, ...patience });
    try {
      await worker.#greet(signal);
      return worker;
    } catch (error) {
      await worker.#endAfter();
      throw error;
    }
  }

  get state(): State {
    return this.#state;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** What it said of itself at its start. */
  get hello(): Promise<Hello> {
    return this.#hello.promise;
  }

  /** Whether it can still be asked for anything. One that cannot is ending, or has ended. */
  get isUsable(): boolean {
    return !this.#broken && !this.#isOver() && this.#state !== 'stopping';
  }

  /** Resolves when it is gone and all it wrote was read, or when it cannot be killed. */
  get ended(): Promise<Ending> {
    return this.#gone;
  }

  /**
   * Load a model; once a process.
   *
   * @throws LotusError `model_unavailable`, with the process stopped: without a model it is of no use.
   */
  async load(request: Omit<LoadRequest, 'type' | 'id'>, wait: WaitOptions): Promise<Ready> {
    this.#enter('loading');
    try {
      const ready = await this.#wait(
        () => this.#conversation.ask<'load'>({ ...request, type: 'load' }, wait.onStage),
        wait,
      );
      this.#enter('ready');
      return ready;
    } catch (error) {
      await this.#endAfter();
      if (isCancelled(error)) throw error;
      throw new LotusError('model_unavailable', messageOf(error), { cause: error });
    }
  }

  /**
   * Run one image.
   *
   * When the time is up or the signal aborts, the run is cancelled between two of its stages and the
   * process stays; if it does not obey, it is killed.
   *
   * @throws LotusError what the process answered, `timed_out`, `cancelled` or `worker_crashed`.
   */
  async run(request: Omit<RunRequest, 'type' | 'id'>, wait: WaitOptions): Promise<Result> {
    if (this.#state !== 'ready') throw this.#unavailable();
    if (wait.signal?.aborted) throw cancelled(); // before the process has heard of it
    this.#enter('running');
    return await this.#wait(
      () => this.#conversation.ask<'run'>({ ...request, type: 'run' }, wait.onStage),
      wait,
      (id) => this.#conversation.tell({ type: 'cancel', id }),
    );
  }

  /**
   * Ask for a sign of life. It comes during a run too, and a process that gives none is killed.
   *
   * @throws LotusError `worker_crashed`
   */
  async ping(timeoutMs: number): Promise<void> {
    const silent = () => this.#crash('it hangs', `no sign of life in ${timeoutMs / 1000} s`);
    await this.#wait(() => this.#conversation.ask<'ping'>({ type: 'ping' }), { timeoutMs, silent });
  }

  /**
   * End the process: ask, then SIGTERM, then SIGKILL to its whole group. Safe to call at any time and
   * more than once; resolves when it is gone, or cannot be killed.
   */
  async stop(): Promise<void> {
    if (this.#state !== 'stopping' && !this.#isOver()) {
      this.#enter('stopping');
      this.#conversation.tell({ type: 'shutdown' });
      if (!(await settlesWithin(this.#gone, this.#patience.stop))) this.#child.end();
    }
    await this.#gone;
  }

  /** End it after a failure. @throws Unkillable, which is worse. */
  async #endAfter(): Promise<void> {
    await this.stop();
    const ending = await this.#gone;
    if (ending.kind === 'crashed' && ending.error instanceof Unkillable) throw ending.error;
  }

  #isOver(): boolean {
    return this.#state === 'stopped' || this.#state === 'crashed';
  }

  async #greet(signal: AbortSignal | undefined): Promise<void> {
    const hangUp = () => this.#fail(cancelled());
    signal?.addEventListener('abort', hangUp, { once: true });
    try {
      if (signal?.aborted) hangUp();
      if (!(await settlesWithin(this.#hello.promise, this.#patience.hello))) {
        throw new Error(`it said nothing in ${this.#patience.hello / 1000} s`);
      }
      const hello = await this.#hello.promise;
      if (hello.protocol !== PROTOCOL_VERSION) {
        throw new Error(
          `it speaks version ${hello.protocol} of the protocol, not ${PROTOCOL_VERSION}: the Python` +
            ' side belongs to another version of lotus-worker; install both anew',
        );
      }
      this.#log.debug(
        { pid: hello.pid, versions: hello.versions },
        'the model process has started',
      );
    } catch (error) {
      if (isCancelled(error)) throw error;
      const message = `The model process did not start: ${messageOf(error)}`;
      throw new LotusError('model_unavailable', message, { cause: error });
    } finally {
      signal?.removeEventListener('abort', hangUp);
    }
  }

  /**
   * Ask, and wait for the answer within its time.
   *
   * @param cancel asks the process to give it up; without it, a process that is late is killed at once.
   */
  async #wait<T extends Asked>(
    ask: () => Pending<T>,
    { timeoutMs, signal, silent }: WaitOptions & { silent?: () => LotusError },
    cancel?: (id: string) => void,
  ): Promise<Answers[T]> {
    if (!this.isUsable) throw this.#unavailable();
    const pending = ask();
    let isGivenUp = false;
    const giveUp = async (error: LotusError) => {
      if (isGivenUp) return;
      isGivenUp = true;
      pending.giveUp(error);
      cancel?.(pending.id);
      const obeys = cancel && (await settlesWithin(pending.answer, this.#patience.cancel));
      if (obeys) return;
      if (cancel && this.isUsable) {
        const patience_ms = this.#patience.cancel;
        this.#log.warn({ patience_ms }, 'the model process does not let go of a run: killed');
      }
      this.#fail(error);
    };
    const late = () =>
      new LotusError('timed_out', `The model did not answer in ${timeoutMs / 1000} s.`);
    const stopClock = afterAwake(timeoutMs, () => void giveUp((silent ?? late)()));
    const unwanted = () => void giveUp(cancelled());
    if (signal?.aborted) unwanted();
    signal?.addEventListener('abort', unwanted, { once: true });
    try {
      return (await pending.answer) as Answers[T];
    } finally {
      stopClock();
      signal?.removeEventListener('abort', unwanted);
    }
  }

  /** The process is of no use any more: tell everyone who waits, and end it. */
  #fail(error: Error): void {
    if (this.#broken) return;
    this.#broken = error;
    this.#hello.reject(error);
    this.#conversation.end(error);
    this.#child.end();
  }

  #onExit({ how, isLeft }: End): Ending {
    const wanted = this.#state === 'stopping' && !this.#broken && !isLeft;
    this.#enter(wanted ? 'stopped' : 'crashed');
    const why = this.#broken ?? this.#crash('it ended', how);
    const error = isLeft ? new Unkillable(how) : asLotusError(why);
    this.#hello.reject(error);
    this.#conversation.end(error);
    if (wanted) return { kind: 'stopped' };
    if (!isCancelled(error)) this.#log.error({ err: error.cause ?? error }, error.message);
    return { kind: 'crashed', error };
  }

  #crash(what: string, how: string): LotusError {
    const half = this.#conversation.halfSaid;
    const { lastWords } = this.#child;
    const details = [
      half && `It was in the middle of a line: ${JSON.stringify(half)}`,
      lastWords && `Its last words:\n${lastWords}`,
    ];
    const cause = new Error(details.filter(Boolean).join('\n') || 'It left no message.');
    cause.stack = cause.message; // the log prints the stack, and ours says nothing about Python
    return new LotusError('worker_crashed', `The model process failed: ${what}: ${how}`, { cause });
  }

  #unavailable(): LotusError {
    if (this.#broken instanceof LotusError) return this.#broken;
    return new LotusError('model_unavailable', `The model process is ${this.#state}.`, {
      cause: this.#broken,
    });
  }

  #enter(state: State): void {
    this.#log.trace({ from: this.#state, to: state }, 'worker state');
    this.#state = step(this.#state, state);
  }
}
