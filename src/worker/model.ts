import { randomUUID } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import type { Config, Environment } from '../config.ts';
import { asLotusError, cancelled, isCancelled, LotusError, messageOf } from '../errors.ts';
import type { Installation } from '../installation.ts';
import type { Log } from '../log.ts';
import { workerCommand } from './command.ts';
import { type OnStage, type WorkerCommand, WorkerProcess } from './process.ts';
import type { Hello, Ready, Result, RunRequest } from './protocol.ts';
import { Scratch } from './scratch.ts';

/** Raw 8-bit RGB, rows top to bottom: width * height * 3 bytes. */
export interface RgbImage {
  readonly pixels: Uint8Array;
  readonly width: number;
  readonly height: number;
}

export type RunOptions = RunRequest['options'];
export type PictureOptions = RunRequest['picture'];
export type Plane = keyof RunRequest['planes'];

/**
 * A map as the model process computed it, with the planes that were asked for. To its stages' times come
 * `wait`, for the images before, and `model`, all of it as seen from here.
 */
export interface DepthMap extends Omit<Result, 'type' | 'id'> {
  /** width * height little-endian float32 values; empty unless asked for. */
  readonly float32: Buffer;
  /** width * height bytes; empty unless asked for. */
  readonly uint8: Buffer;
}

export interface RunRequestOptions {
  options: RunOptions;
  picture: PictureOptions;
  planes: ReadonlySet<Plane>;
  signal?: AbortSignal | undefined;
}

interface ModelOptions {
  config: Config;
  installation: Installation;
  env: Environment;
  log: Log;
  signal?: AbortSignal | undefined;
  onStage?: OnStage | undefined;
  /** Instead of the real Python side; for tests. */
  command?: WorkerCommand;
}

/**
 * The model: pixels in, maps out, one image at a time. It owns the Python process and the scratch folder
 * between the two.
 *
 * A process that died is replaced at the next run, so that one image costs itself and not the rest; a
 * process that cannot be started is not tried again.
 */
export class Model {
  readonly #options: ModelOptions;
  readonly #scratch: Scratch;
  #started: Started;
  #turn: Promise<unknown> = Promise.resolve();
  readonly #lost = new AbortController();
  #restarts = 0;
  /** Whether the process has run an image. */
  #hasRun = false;
  readonly #stopping = new AbortController();

  private constructor(options: ModelOptions, scratch: Scratch, started: Started) {
    this.#options = options;
    this.#scratch = scratch;
    this.#started = started;
    this.#watch(started.process);
  }

  /**
   * Start a Python process and load the configured model.
   *
   * @throws LotusError `model_unavailable`, or `cancelled` by the signal.
   */
  static async start(options: ModelOptions): Promise<Model> {
    const scratch = await Scratch.open(options.log, options.config.scratchDir);
    try {
      return new Model(options, scratch, await startProcess(options));
    } catch (error) {
      await scratch.close();
      throw error;
    }
  }

  /** What was loaded, and what it runs on. */
  get ready(): Ready {
    return this.#started.ready;
  }

  /** The versions of what runs it, and the milliseconds from nothing to ready. */
  get start(): { versions: Hello['versions']; startedInMs: number } {
    return this.#started;
  }

  /** How often the process was started again. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Aborts when the model cannot be had any more, with the LotusError as its reason: every further run gets that. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /**
   * Compute the map of one image. Calls wait for each other.
   *
   * @throws LotusError `shape_not_admitted`, `out_of_memory`, `non_finite_map`, `timed_out`, `cancelled`,
   *   `worker_crashed`, `model_unavailable` or `internal`.
   */
  run(image: RgbImage, request: RunRequestOptions): Promise<DepthMap> {
    const since = performance.now();
    const result = this.#turn.then(() => this.#run(image, request, performance.now() - since));
    this.#turn = result.catch(() => {}); // the next one's turn comes either way
    return result;
  }

  /** End the process and remove the scratch folder. What runs or waits is cancelled. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#turn; // it may be starting another process
    await this.#started.process.stop();
    await this.#scratch.close();
  }

  async #run(
    image: RgbImage,
    { options, picture, planes, signal }: RunRequestOptions,
    waitedMs: number,
  ): Promise<DepthMap> {
    if (this.#stopping.signal.aborted || signal?.aborted) throw cancelled();
    await this.#revive();
    const since = performance.now();
    const name = randomUUID();
    const input = this.#scratch.path(`${name}.rgb`);
    const wanted = {
      float32: planes.has('float32') ? this.#scratch.path(`${name}.float32`) : null,
      uint8: planes.has('uint8') ? this.#scratch.path(`${name}.uint8`) : null,
    };
    try {
      await writeFile(input, image.pixels).catch((error) => {
        throw new LotusError(
          'internal',
          `Cannot write to the scratch folder ${this.#scratch.dir}: ${messageOf(error)}. Set` +
            ' LOTUS_SCRATCH_DIR to one with more room.',
          { cause: error },
        );
      });
      const result = await this.#started.process.run(
        {
          image: { path: input, width: image.width, height: image.height },
          options,
          picture,
          planes: wanted,
        },
        {
          timeoutMs: this.#options.config.jobTimeoutMs,
          signal: signal ? AbortSignal.any([signal, this.#stopping.signal]) : this.#stopping.signal,
        },
      );
      this.#hasRun = true;
      const [float32, uint8] = await Promise.all([read(wanted.float32), read(wanted.uint8)]);
      const timings_ms = {
        wait: waitedMs,
        ...result.timings_ms,
        model: performance.now() - since,
      };
      return { ...result, timings_ms, float32, uint8 };
    } finally {
      const files = [input, wanted.float32, wanted.uint8].filter((file) => file !== null);
      await Promise.all(files.map((file) => rm(file, { force: true })));
    }
  }

  /**
   * A process that dies while nothing is asked of it is replaced at once, so that no image is the one that finds out.
   * One that has never run an image might die for ever: that waits for the next image.
   */
  #watch(process: WorkerProcess): void {
    this.#hasRun = false;
    void process.ended.then(() => {
      if (this.#stopping.signal.aborted || !this.#hasRun) return;
      this.#turn = this.#turn.then(() => this.#revive()).catch(() => {}); // lost, or told to stop
    });
  }

  async #revive(): Promise<void> {
    this.#lost.signal.throwIfAborted();
    if (this.#stopping.signal.aborted) throw cancelled();
    if (this.#started.process.isUsable) return;
    await this.#started.process.stop(); // its memory must be free before the next one loads
    this.#options.log.warn('starting the model process again');
    try {
      const { signal } = this.#stopping;
      this.#started = await startProcess({ ...this.#options, signal });
      this.#restarts += 1;
      this.#watch(this.#started.process);
    } catch (error) {
      if (isCancelled(error)) throw error;
      this.#lost.abort(asLotusError(error));
      this.#lost.signal.throwIfAborted();
    }
  }
}

interface Started {
  process: WorkerProcess;
  versions: Hello['versions'];
  ready: Ready;
  startedInMs: number;
}

async function startProcess(options: ModelOptions): Promise<Started> {
  const { config, installation, env, log, signal, onStage } = options;
  const since = performance.now();
  const command = options.command ?? workerCommand(config, env, installation);
  const process = await WorkerProcess.start(command, log, { signal });
  const ready = await process.load(
    {
      upstream: installation.upstream,
      model: installation.checkpoint.folder,
      revision: installation.checkpoint.revision,
      device: config.device,
      dtype: config.dtype,
    },
    { timeoutMs: config.loadTimeoutMs, signal, onStage },
  );
  log.info(
    {
      model: ready.model,
      revision: ready.revision,
      device: ready.device,
      dtype: ready.dtype,
      attention: ready.attention,
      timings_ms: ready.timings_ms,
    },
    'the model is ready',
  );
  const { versions } = await process.hello;
  return { process, versions, ready, startedInMs: performance.now() - since };
}

async function read(file: string | null): Promise<Buffer> {
  return file === null ? Buffer.alloc(0) : await readFile(file);
}
