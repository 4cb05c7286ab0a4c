import { execa } from 'execa';
import type { Log } from '../log.ts';
import { afterAwake } from '../time/awake.ts';
import { StderrLog } from './stderr.ts';

/** How to start the Python side; tests start small programs that misbehave instead. */
export interface WorkerCommand {
  readonly file: string;
  readonly args: readonly string[];
  /** The whole environment: nothing of ours is inherited. */
  readonly env: Readonly<Record<string, string>>;
}

/** From the end of the process until its pipes are closed from our side: time to read what is in them. */
const LAST_WORDS_MS = 1_000;

/** From SIGKILL until nobody waits for it any more: inside of a driver's call it cannot be killed. */
const LEFT_AFTER_MS = 10_000;

/** How a process ended. */
export interface End {
  readonly how: string;
  /** It has not: it could not be killed, and holds what it has. */
  readonly isLeft: boolean;
}

/** A child process: bytes each way, what it says on standard error in the log, and its end. */
export class Child {
  readonly #process: ReturnType<typeof spawn>;
  readonly #stderr: StderrLog;
  readonly #graceMs: number;
  readonly #left = Promise.withResolvers<End>();
  #isEnding = false;
  /** Resolves when it is gone and all it wrote was read, or when it cannot be ended. */
  readonly ended: Promise<End>;

  /**
   * @param graceMs from `end` until it is killed.
   * @param onData gets what it writes to standard output.
   */
  constructor(command: WorkerCommand, log: Log, graceMs: number, onData: (chunk: Buffer) => void) {
    this.#graceMs = graceMs;
    this.#stderr = new StderrLog(log.child({ source: 'python' }));
    this.#process = spawn(command, graceMs);
    this.#process.stdin.on('error', () => {}); // EPIPE: the exit that causes it is what gets reported
    this.#process.stdout.on('data', onData);
    this.#process.stderr.on('data', (chunk: Buffer) => this.#stderr.push(chunk));
    // Whatever it started goes with it; otherwise its pipes would stay open.
    this.#process.nodeChildProcess.once('exit', () => this.#endPipes());
    const gone = this.#process.then((result) => {
      this.#stderr.end();
      return { how: howItEnded(result), isLeft: false };
    });
    this.ended = Promise.race([gone, this.#left.promise]);
  }

  /** Undefined when it could not be started. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** The end of what it wrote to standard error. */
  get lastWords(): string {
    return this.#stderr.tail();
  }

  write(text: string): void {
    if (this.#process.stdin.writable) this.#process.stdin.write(text);
  }

  /** SIGTERM, and SIGKILL to its whole group when that has not ended it in time. */
  end(): void {
    this.#process.kill('SIGTERM');
    if (this.#isEnding) return;
    this.#isEnding = true;
    const stopClock = afterAwake(this.#graceMs + LEFT_AFTER_MS, () => this.#leave());
    void this.ended.then(stopClock);
  }

  /** So that we can end without it. */
  #leave(): void {
    const { nodeChildProcess } = this.#process;
    nodeChildProcess.unref();
    for (const stream of nodeChildProcess.stdio) stream?.destroy();
    this.#left.resolve({
      how: `it cannot be killed (pid ${this.pid}): the driver hangs, or a disk does`,
      isLeft: true,
    });
  }

  /** The process has ended. What it started ends with it, or else loses our ear. */
  #endPipes(): void {
    this.#process.kill('SIGKILL'); // its group
    const close = setTimeout(() => {
      this.#process.stdout.destroy(); // one that has left the group still holds them open
      this.#process.stderr.destroy();
    }, LAST_WORDS_MS);
    void this.ended.then(() => clearTimeout(close));
  }
}

/**
 * In a process group of its own (`killDescendants`): Ctrl-C in a terminal then reaches only us, who know
 * what to finish first, and a kill reaches its children too. It does not outlive us: execa ends it when
 * we exit, and it ends by itself at the end of its input.
 */
function spawn(command: WorkerCommand, graceMs: number) {
  return execa(command.file, command.args, {
    env: command.env,
    extendEnv: false,
    killDescendants: true,
    forceKillAfterDelay: graceMs,
    buffer: false,
    reject: false,
  });
}

function howItEnded(result: Awaited<ReturnType<typeof spawn>>): string {
  if (result.signal) return `killed by ${result.signal} (${result.signalDescription})`;
  if (result.exitCode !== undefined) return `exit code ${result.exitCode}`;
  return result.shortMessage ?? 'it could not be started';
}
