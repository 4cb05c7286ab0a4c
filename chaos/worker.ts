import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { MAIN } from '../src/app.ts';
import { API_KEY } from './jobs.ts';
import { type Line, readLine } from './log.ts';
import { pythonsOf } from './processes.ts';
import { savedJobs } from './saved.ts';
import type { Workspace } from './workspace.ts';

/** One process of the worker, from its start to its end. */
export interface Life {
  readonly number: number;
  readonly workerId: string;
  readonly pid: number;
  readonly startedAt: number;
  /** Whether it has taken jobs. */
  served: boolean;
  /** What we have done to it; `itself`: nothing. */
  end: 'killed' | 'terminated' | 'itself' | null;
  endedAt: number | null;
  /** Its exit code, or the signal that has ended it. */
  exit: number | string | null;
  /** Jobs whose results it has left in the spool. */
  saved: readonly string[];
}

interface WorkerOptions {
  readonly workspace: Workspace;
  /** The platform's environment, and settings. */
  readonly env: Readonly<Record<string, string>>;
  /** Seconds. */
  readonly now: () => number;
}

export const LIVENESS_TIMEOUT_S = 5;
export const LOAD_TIMEOUT_S = 60;

/**
 * Small, so that what hangs is found while we look; and no end after so many crashes as we make. One thread for torch:
 * where the machine has other work, several wait for each other.
 */
const SETTINGS = {
  LOTUS_SAMPLE: '1',
  LOTUS_ALLOW_EPHEMERAL: '1',
  LOTUS_API_KEY: API_KEY,
  LOTUS_LOG_LEVEL: 'debug',
  LOTUS_FETCH_ALLOW: '127.0.0.1',
  LOTUS_LIVENESS_TIMEOUT: String(LIVENESS_TIMEOUT_S),
  LOTUS_LOAD_TIMEOUT: String(LOAD_TIMEOUT_S),
  LOTUS_MAX_CRASHES: '10000',
  LOTUS_JOB_TIMEOUT: '60',
  OMP_NUM_THREADS: '1',
  MALLOC_ARENA_MAX: '2', // as `bootstrap` and the image
};

/** After so long the platform starts a worker again that has ended by itself. */
const REVIVAL_MS = 1_000;

/** `lotus-worker serve`, the real one, through all its lives. */
export class ChaosWorker {
  readonly lives: Life[] = [];
  /** What all lives have logged. */
  readonly lines: Line[] = [];
  /** Jobs that the living one was given and has not finished. */
  readonly running = new Set<string>();
  /** Jobs that the living one has finished and not delivered. */
  readonly owing = new Set<string>();
  /** The Python process that has loaded the model last. */
  loaded: number | null = null;
  readonly #options: WorkerOptions;
  readonly #log: WriteStream;
  #child: ChildProcess | null = null;
  #revival: NodeJS.Timeout | undefined;
  #gone: Promise<void> = Promise.resolve();

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#log = createWriteStream(path.join(path.dirname(options.workspace.dir), 'worker.log'));
  }

  /** The life that it has now, or had last. */
  get life(): Life {
    const last = this.lives.at(-1);
    if (!last) throw new Error('the worker was never started');
    return last;
  }

  get isUp(): boolean {
    return this.life.end === null && this.life.served;
  }

  /** Whether its Python process has loaded the model, and there is something to do for it. */
  async isComputing(): Promise<boolean> {
    return this.running.size > 0 && this.loaded !== null && this.loaded === (await this.python());
  }

  /** Its Python process, if it has one. */
  async python(): Promise<number | null> {
    return (await pythonsOf(this.life.pid))[0] ?? null;
  }

  /** Give it a life. It ends when we do, however that comes (`setpriv`), and Ctrl-C does not reach it. */
  start(workerId: string): void {
    clearTimeout(this.#revival);
    const { workspace, env, now } = this.#options;
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, MAIN, 'serve'], {
      cwd: workspace.dir,
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ...ownEnvironment(),
        ...SETTINGS,
        WORKSPACE: workspace.dir,
        LOTUS_SCRATCH_DIR: workspace.scratch,
        ...env,
        RUNPOD_POD_ID: workerId,
      },
    });
    const life: Life = {
      number: this.lives.length,
      workerId,
      pid: child.pid ?? 0,
      startedAt: now(),
      served: false,
      end: null,
      endedAt: null,
      exit: null,
      saved: [],
    };
    this.lives.push(life);
    this.#child = child;
    this.#gone = this.#see(child, life);
  }

  /** Kill -9, and wait until it is gone. @returns that it is. */
  async kill(): Promise<true> {
    this.life.end ??= 'killed';
    this.#child?.kill('SIGKILL');
    await this.#gone;
    clearTimeout(this.#revival); // it may have ended by itself in between
    return true;
  }

  /**
   * As the platform ends it.
   *
   * @param patienceMs after which it is killed.
   * @returns whether it has ended by itself in that time.
   */
  async terminate(patienceMs: number): Promise<boolean> {
    this.life.end ??= 'terminated';
    this.#child?.kill('SIGTERM');
    let isLate = false;
    const late = setTimeout(() => {
      isLate = true;
      this.#child?.kill('SIGKILL');
    }, patienceMs);
    await this.#gone;
    clearTimeout(late);
    clearTimeout(this.#revival);
    return !isLate;
  }

  /** No more lives: its log is closed. */
  async close(): Promise<void> {
    clearTimeout(this.#revival);
    if (this.lives.length > 0) await this.kill();
    this.#log.end();
    await once(this.#log, 'close');
  }

  /** Reads what it says to the end, then notes how it ended. Never rejects. */
  async #see(child: ChildProcess, life: Life): Promise<void> {
    const failed = Promise.withResolvers<string>();
    child.once('error', (error) => failed.resolve(error.message));
    const exited = once(child, 'close').then(
      ([code, signal]) => (signal ?? code) as string | number,
    );
    exited.catch(() => {}); // an 'error' event, which is what is told
    if (child.stderr) {
      createInterface({ input: child.stderr }).on('line', (text) => this.#hear(text, life));
    }
    life.exit = await Promise.race([exited, failed.promise]).catch(() => failed.promise);
    life.end ??= 'itself';
    life.endedAt = this.#options.now();
    life.saved = await savedJobs(this.#options.workspace.spool);
    this.running.clear();
    this.owing.clear();
    if (life.end === 'itself')
      this.#revival = setTimeout(() => this.start(life.workerId), REVIVAL_MS);
  }

  #hear(text: string, life: Life): void {
    this.#log.write(`${life.number} ${text}\n`);
    const line = readLine(text, life.number, this.#options.now());
    this.lines.push(line);
    const { msg, job } = line;
    if (msg === 'taking jobs') life.served = true;
    if (msg === 'the model is ready') void this.#noteLoaded();
    if (job !== undefined) this.#follow(msg, job);
  }

  async #noteLoaded(): Promise<void> {
    this.loaded = await this.python();
  }

  #follow(msg: string, job: string): void {
    if (msg === 'taken') this.running.add(job);
    if (msg === 'finished') {
      this.running.delete(job);
      this.owing.add(job);
    }
    if (['delivered', 'dropped', 'stopped', 'abandoned'].includes(msg)) {
      this.running.delete(job);
      this.owing.delete(job);
    }
  }
}

/** Ours, without settings of the worker's that are not about how it is installed. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const kept = ['LOTUS_UV', 'LOTUS_PYTHON'];
  return Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => kept.includes(name) || !/^(LOTUS_|RUNPOD_|MODEL_|WORKSPACE$)/.test(name),
    ),
  );
}
