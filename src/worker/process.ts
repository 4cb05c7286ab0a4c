import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { cancelled, isCancelled, LotusError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { LineFramer } from './framing.ts';
import {
  type ErrorReply,
  encodeRequest,
  type Hello,
  type LoadRequest,
  PROTOCOL_VERSION,
  ProtocolError,
  parseReply,
  type Ready,
  type Reply,
  type Request,
  type Result,
  type RunRequest,
} from './protocol.ts';
import { type State, step } from './state.ts';
import { StderrLog } from './stderr.ts';

/** How to start the Python side; tests start small programs that misbehave instead. */
export interface WorkerCommand {
  readonly file: string;
  readonly args: readonly string[];
  /** The whole environment: nothing of ours is inherited. */
  readonly env: Readonly<Record<string, string>>;
}

/** How long, in milliseconds, we wait for the process before the next rung of the ladder. */
export interface Patience {
  /** From the start to `hello`: Python itself, from a cold disk. */
  readonly hello: number;
  /** From `cancel` to the end of the run: one stage, which a kernel cannot be stopped in. */
  readonly cancel: number;
  /** From `shutdown` to SIGTERM, and from SIGTERM to SIGKILL. */
  readonly stop: number;
}

/** From the end of the process until its pipes are closed from our side: time to read what is in them. */
const LAST_WORDS_MS = 1_000;

const PATIENCE: Patience = { hello: 60_000, cancel: 30_000, stop: 5_000 };

/** How a stage of loading or of a run is reported: its name and the fraction already behind it. */
export type OnStage = (stage: string, fraction: number) => void;

export interface WaitOptions {
  /** Milliseconds until the process is given up. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  onStage?: OnStage | undefined;
}

/** A request that waits for its last reply. */
interface Pending {
  settle: PromiseWithResolvers<Reply>;
  onStage: OnStage | undefined;
  /** Why it was given up: what is told instead of the `cancelled` that comes back. */
  givenUp?: LotusError;
}

/**
 * One Python process, from its start to its end. It loads one model and runs one image at a time.
 *
 * Every wait is bounded and every end is told apart: an error of the job leaves the process `ready`; a
 * process that dies, breaks the protocol or stops answering is `crashed`, with its last words in the
 * error's cause.
 */
export class WorkerProcess {
  readonly #child: ReturnType<typeof spawn>;
  readonly #log: Log;
  readonly #patience: Patience;
  readonly #stderr: StderrLog;
  readonly #framer = new LineFramer();
  readonly #pending = new Map<string, Pending>();
  readonly #hello = Promise.withResolvers<Hello>();
  /** Resolves when the process is gone and all it wrote was read. */
  readonly #gone: Promise<void>;
  #state: State = 'starting';
  #greeted = false;
  #requests = 0;
  #broken: Error | undefined;

  private constructor(command: WorkerCommand, log: Log, patience: Patience) {
    this.#log = log;
    this.#patience = patience;
    this.#stderr = new StderrLog(log.child({ source: 'python' }));
    this.#child = spawn(command, patience);
    // Rejections are delivered to whoever waits; nobody may be waiting.
    this.#hello.promise.catch(() => {});
    this.#child.stdin.on('error', () => {}); // EPIPE: the exit that causes it is what gets reported
    this.#child.stdout.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#child.stderr.on('data', (chunk: Buffer) => this.#stderr.push(chunk));
    // Whatever it started goes with it; otherwise its pipes would stay open.
    this.#child.nodeChildProcess.once('exit', () => this.#endPipes());
    this.#gone = this.#child.then((result) => this.#onExit(result));
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
      await worker.stop();
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

  /** Resolves when it is gone, however that came. */
  get ended(): Promise<void> {
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
      const reply = await this.#ask({ ...request, type: 'load', id: this.#nextId() }, wait);
      if (reply.type !== 'ready') throw this.#violation(reply, 'ready');
      this.#enter('ready');
      return reply;
    } catch (error) {
      await this.stop();
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
    const reply = await this.#ask({ ...request, type: 'run', id: this.#nextId() }, wait);
    if (reply.type !== 'result') throw this.#violation(reply, 'result');
    return reply;
  }

  /** Ask for a sign of life. It comes during a run too. */
  async ping(timeoutMs: number): Promise<void> {
    const reply = await this.#ask({ type: 'ping', id: this.#nextId() }, { timeoutMs });
    if (reply.type !== 'pong') throw this.#violation(reply, 'pong');
  }

  /**
   * End the process: ask, then SIGTERM, then SIGKILL to its whole group. Safe to call at any time and
   * more than once; resolves when it is gone.
   */
  async stop(): Promise<void> {
    if (this.#state !== 'stopping' && !this.#isOver()) {
      this.#enter('stopping');
      this.#send({ type: 'shutdown' });
      if (!(await settlesWithin(this.#gone, this.#patience.stop))) this.#child.kill('SIGTERM');
    }
    await this.#gone;
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

  /** Send a request and wait for the reply that ends it, within its time. */
  async #ask(request: Request & { id: string }, wait: WaitOptions): Promise<Reply> {
    if (this.#isOver() || this.#broken) throw this.#unavailable();
    const pending: Pending = { settle: Promise.withResolvers(), onStage: wait.onStage };
    this.#pending.set(request.id, pending);
    this.#send(request);
    const late = () =>
      new LotusError('timed_out', `The model did not answer in ${wait.timeoutMs / 1000} s.`);
    const deadline = setTimeout(() => void this.#giveUp(request, late()), wait.timeoutMs);
    const unwanted = () => void this.#giveUp(request, cancelled());
    if (wait.signal?.aborted) unwanted();
    wait.signal?.addEventListener('abort', unwanted, { once: true });
    try {
      return await pending.settle.promise;
    } finally {
      clearTimeout(deadline);
      wait.signal?.removeEventListener('abort', unwanted);
      this.#pending.delete(request.id);
    }
  }

  /** The time of a request is up, or nobody wants it any more. */
  async #giveUp(request: Request & { id: string }, error: LotusError): Promise<void> {
    const pending = this.#pending.get(request.id);
    if (!pending || pending.givenUp) return;
    pending.givenUp = error;
    if (request.type === 'run') {
      this.#send({ type: 'cancel', id: request.id });
      if (await settlesWithin(pending.settle.promise, this.#patience.cancel)) return;
    }
    pending.settle.reject(error);
    this.#fail(error);
  }

  #send(request: Request): void {
    if (this.#child.stdin.writable) this.#child.stdin.write(encodeRequest(request));
  }

  #read(chunk: Buffer): void {
    if (this.#broken) return;
    try {
      for (const line of this.#framer.push(chunk)) this.#receive(parseReply(line));
    } catch (error) {
      if (!(error instanceof ProtocolError || error instanceof RangeError)) throw error;
      this.#fail(this.#crash('it broke the protocol', error.message));
    }
  }

  #receive(reply: Reply): void {
    if (reply.type === 'hello') {
      this.#onHello(reply);
    } else if (reply.type === 'error' && reply.id === null) {
      throw new ProtocolError(`it cannot read what we said: ${reply.message}`);
    } else {
      this.#onReply(reply);
    }
  }

  #onReply(reply: Exclude<Reply, Hello>): void {
    const pending = this.#pending.get(reply.id ?? '');
    if (!pending) throw new ProtocolError(`a reply to nothing we asked: ${reply.type} ${reply.id}`);
    if (reply.type === 'loading' || reply.type === 'progress') {
      pending.onStage?.(reply.stage, reply.fraction);
      return;
    }
    if (this.#state === 'running' && reply.type !== 'pong') this.#enter('ready');
    if (reply.type === 'error') this.#onError(reply, pending);
    else pending.settle.resolve(reply);
  }

  #onHello(reply: Hello): void {
    if (this.#greeted) throw new ProtocolError('a second hello');
    this.#greeted = true;
    this.#hello.resolve(reply);
  }

  #onError(reply: ErrorReply, pending: Pending): void {
    const error = (reply.code === 'cancelled' && pending.givenUp) || asJobError(reply);
    pending.settle.reject(error);
    if (!reply.healthy) this.#fail(error);
  }

  /** The process is of no use any more: tell everyone who waits, and end it. */
  #fail(error: Error): void {
    if (this.#broken) return;
    this.#broken = error;
    this.#hello.reject(error);
    for (const pending of this.#pending.values()) pending.settle.reject(error);
    this.#child.kill('SIGTERM'); // and SIGKILL after `patience.stop`
  }

  /** The process has ended. What it started ends with it, or else loses our ear. */
  #endPipes(): void {
    this.#child.kill('SIGKILL'); // its group
    const close = setTimeout(() => {
      this.#child.stdout.destroy(); // one that has left the group still holds them open
      this.#child.stderr.destroy();
    }, LAST_WORDS_MS);
    void this.#gone.then(() => clearTimeout(close));
  }

  #onExit(result: Awaited<ReturnType<typeof spawn>>): void {
    this.#stderr.end();
    const wanted = this.#state === 'stopping' && !this.#broken;
    this.#enter(wanted ? 'stopped' : 'crashed');
    const error = this.#broken ?? this.#crash('it ended', howItEnded(result));
    this.#hello.reject(error);
    for (const pending of this.#pending.values()) pending.settle.reject(error);
    if (!wanted && !isCancelled(error)) {
      this.#log.error({ err: error.cause ?? error }, error.message);
    }
  }

  #crash(what: string, how: string): LotusError {
    const half = this.#framer.rest().subarray(0, 200).toString('utf8');
    const details = [
      half && `It was in the middle of a line: ${JSON.stringify(half)}`,
      this.#stderr.tail() && `Its last words:\n${this.#stderr.tail()}`,
    ];
    const cause = new Error(details.filter(Boolean).join('\n') || 'It left no message.');
    cause.stack = cause.message; // the log prints the stack, and ours says nothing about Python
    return new LotusError('worker_crashed', `The model process failed: ${what}: ${how}`, { cause });
  }

  #violation(reply: Reply, wanted: string): Error {
    const error = this.#crash('it broke the protocol', `${reply.type} instead of ${wanted}`);
    this.#fail(error);
    return error;
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

  #nextId(): string {
    this.#requests += 1;
    return String(this.#requests);
  }
}

/**
 * In a process group of its own (`killDescendants`): Ctrl-C in a terminal then reaches only us, who know
 * what to finish first, and a kill reaches its children too. It does not outlive us: execa ends it when
 * we exit, and it ends by itself at the end of its input.
 */
function spawn(command: WorkerCommand, patience: Patience) {
  return execa(command.file, command.args, {
    env: command.env,
    extendEnv: false,
    killDescendants: true,
    forceKillAfterDelay: patience.stop,
    buffer: false,
    reject: false,
  });
}

async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const timer = new AbortController();
  const settled = promise.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([settled, sleep(ms, false, { signal: timer.signal })]);
  } finally {
    timer.abort();
  }
}

function howItEnded(result: Awaited<ReturnType<typeof spawn>>): string {
  if (result.signal) return `killed by ${result.signal} (${result.signalDescription})`;
  if (result.exitCode !== undefined) return `exit code ${result.exitCode}`;
  return result.shortMessage ?? 'it could not be started';
}

/** What a caller gets to see of an error that Python sent. */
function asJobError(reply: ErrorReply): LotusError {
  switch (reply.code) {
    case 'shape_not_admitted':
    case 'out_of_memory':
    case 'non_finite_map':
    case 'cancelled':
      return new LotusError(reply.code, reply.message);
    case 'model_not_found':
    case 'incompatible_model':
    case 'incompatible_upstream':
      return new LotusError('model_unavailable', reply.message);
    case 'bad_request': // ours: we asked for it
    case 'internal':
      return new LotusError('internal', 'The model process failed on this; the log says more.', {
        cause: new Error(reply.message),
      });
  }
}
