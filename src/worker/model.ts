import { readFile, writeFile } from 'node:fs/promises';
import { cancelled, LotusError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Pace } from '../time/backoff.ts';
import type { Devices } from './devices.ts';
import { PoisonList, Suspect } from './poison.ts';
import { Pool, type TurnOptions } from './pool.ts';
import type { Hello, Ready, Result, RunRequest } from './protocol.ts';
import { Scratch } from './scratch.ts';
import { type Started, type StartOptions, startProcess } from './start.ts';
import { type Death, ProcessDied, Supervisor } from './supervisor.ts';

/** Raw 8-bit RGB, rows top to bottom: width * height * 3 bytes. */
export interface RgbImage {
  readonly pixels: Uint8Array;
  readonly width: number;
  readonly height: number;
}

export type RunOptions = RunRequest['options'];
export type PictureOptions = RunRequest['picture'];
export type Plane = keyof RunRequest['planes'];

const PLANES: readonly Plane[] = ['float32', 'uint8', 'uint16', 'color', 'exr', 'uncertainty'];

function byPlane<T>(values: readonly T[]): Record<Plane, T> {
  return Object.fromEntries(PLANES.map((plane, i) => [plane, values[i]])) as Record<Plane, T>;
}

/**
 * A map as a model process computed it, with the planes that were asked for. To its stages' times come
 * `wait`, for the images before, and `model`, all of it as seen from here.
 */
export interface DepthMap extends Omit<Result, 'type' | 'id'> {
  /** As the protocol has them; empty unless asked for. */
  readonly planes: Readonly<Record<Plane, Buffer>>;
  /** What has computed it. */
  readonly by: Ready;
}

export interface RunRequestOptions {
  options: RunOptions;
  picture: PictureOptions;
  planes: ReadonlySet<Plane>;
  signal?: AbortSignal | undefined;
}

export interface ModelOptions extends StartOptions {
  /** One process for each; default: one with whatever there is. */
  readonly devices?: Devices;
  readonly signal?: AbortSignal | undefined;
  /** Between a crash and the next start; for tests. */
  readonly pace?: Pace;
}

/** The first is short: most crashes are alone, and a caller waits. */
const RESTART_PACE: Pace = { firstMs: 500, maxMs: 30_000 };

/**
 * The model: pixels in, maps out, as many images at a time as there are processes. It owns these and the scratch folder
 * between them and us.
 *
 * A process that died is replaced, and its image is run once more; one that has killed two processes is refused from
 * then on.
 */
export class Model {
  readonly #log: Log;
  readonly #jobTimeoutMs: number;
  readonly #scratch: Scratch;
  readonly #pool: Pool;
  readonly #poison = new PoisonList();
  readonly #stopping = new AbortController();
  readonly #runs = new Set<Promise<unknown>>();
  #written: Promise<void> = Promise.resolve();
  #onUp: ((processes: number) => void) | undefined;
  #wasUp = 0;

  private constructor(options: ModelOptions, scratch: Scratch) {
    const { config, devices = [null], log, pace = RESTART_PACE } = options;
    this.#log = log;
    this.#jobTimeoutMs = config.jobTimeoutMs;
    this.#scratch = scratch;
    const makePlace = (device: string | null, onChange: () => void) => {
      const own = device === null ? log : log.child({ gpu: device });
      return new Supervisor({
        start: (signal) => startProcess({ ...options, log: own }, device, signal),
        ...config.supervision,
        pace,
        log: own,
        onChange,
      });
    };
    this.#pool = new Pool(
      (changed) => devices.map((device) => makePlace(device, changed)),
      () => this.#tellIfUp(),
    );
  }

  /**
   * Start a Python process for each device, and have them load the configured model. Those that cannot are done without,
   * as long as there is one that can.
   *
   * @throws LotusError `model_unavailable`, or `cancelled` by the signal.
   */
  static async start(options: ModelOptions): Promise<Model> {
    const { config, log, signal } = options;
    const images = options.devices?.length ?? 1;
    const channels = config.model.prediction === 'normals' ? 3 : 1;
    const scratch = await Scratch.open(log, { wanted: config.scratchDir, images, channels });
    const model = new Model(options, scratch);
    const hangUp = () => void model.stop();
    signal?.addEventListener('abort', hangUp, { once: true });
    try {
      if (signal?.aborted) hangUp();
      await model.#pool.settled();
      if (signal?.aborted) throw cancelled();
      if (model.#pool.up === 0) throw model.#pool.failure;
      return model;
    } catch (error) {
      await model.stop();
      throw error;
    } finally {
      signal?.removeEventListener('abort', hangUp);
    }
  }

  /** What was loaded, and what it runs on: of the first process that there was. */
  get ready(): Ready {
    return this.#first.ready;
  }

  /** The versions of what runs it, and the milliseconds from nothing to ready. */
  get start(): { versions: Hello['versions']; startedInMs: number } {
    return this.#first;
  }

  /** How many processes there are that run images. */
  get up(): number {
    return this.#pool.up;
  }

  /** How often a process was started again. */
  get restarts(): number {
    return this.#pool.places.reduce((sum, { restarts }) => sum + restarts, 0);
  }

  /** Aborts when the model cannot be had any more, with the LotusError as its reason: every further run gets that. */
  get lost(): AbortSignal {
    return this.#pool.lost;
  }

  /** Tell, now and whenever that changes, how many processes there are that run images. */
  watch(onUp: (processes: number) => void): void {
    this.#onUp = onUp;
    this.#wasUp = this.#pool.up;
    onUp(this.#wasUp);
  }

  /**
   * Compute the map of one image when it is its turn.
   *
   * @throws LotusError `shape_not_admitted`, `out_of_memory`, `non_finite_map`, `timed_out`, `cancelled`,
   *   `poison_job`, `model_unavailable` or `internal`.
   */
  async run(image: RgbImage, request: RunRequestOptions): Promise<DepthMap> {
    const run = this.#run(image, request);
    this.#runs.add(run);
    try {
      return await run;
    } finally {
      this.#runs.delete(run);
    }
  }

  /** End the processes and remove the scratch folder. What runs or waits is cancelled. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#pool.stop();
    await Promise.allSettled(this.#runs); // they remove their files
    await this.#scratch.close();
  }

  get #first(): Started {
    const started = this.#pool.places.flatMap((place) => place.started ?? []);
    if (started[0] === undefined) throw new Error('no process was ever ready');
    return started[0];
  }

  async #run(image: RgbImage, request: RunRequestOptions): Promise<DepthMap> {
    const { signal: stopping } = this.#stopping;
    const signal = request.signal ? AbortSignal.any([request.signal, stopping]) : stopping;
    if (signal.aborted) throw cancelled();
    const suspect = new Suspect(image, request.options);
    const admit = () => this.#poison.refuse(suspect);
    const onDeath = (death: Death) => this.#onDeath(suspect, death);
    admit();
    await using input = this.#scratch.file('rgb');
    await this.#write(input.path, image.pixels);
    for (let isAgain = false; ; isAgain = true) {
      try {
        const map = await this.#try(
          input.path,
          image,
          { ...request, signal },
          { isAgain, admit, onDeath },
        );
        this.#poison.clear(suspect);
        return map;
      } catch (error) {
        if (!(error instanceof ProcessDied)) throw error;
        if (error.cause.code === 'timed_out') throw error.cause; // its time is over
        admit();
      }
    }
  }

  #onDeath(suspect: Suspect, { error, crash, hadBegun }: Death): void {
    if (!hadBegun) return;
    const deaths = this.#poison.blame(suspect, crash);
    const { fingerprint, image } = suspect;
    const size = `${image.width}x${image.height}`;
    this.#log.warn({ fingerprint, size, deaths, err: error }, 'the model process died of an image');
  }

  /** Run it once. Its planes are files of this try's own: the process of the one before may still write. */
  async #try(
    path: string,
    { width, height }: RgbImage,
    { options, picture, planes, signal }: RunRequestOptions,
    turn: Pick<TurnOptions, 'isAgain' | 'admit' | 'onDeath'>,
  ): Promise<DepthMap> {
    await using files = new AsyncDisposableStack();
    const paths = PLANES.map((plane) =>
      planes.has(plane) ? files.use(this.#scratch.file(plane)).path : null,
    );
    const since = performance.now();
    const { result, ready, waitedMs } = await this.#pool.run(
      { image: { path, width, height }, options, picture, planes: byPlane(paths) },
      { timeoutMs: this.#jobTimeoutMs, signal, ...turn },
    );
    const buffers = byPlane(await Promise.all(paths.map(read)));
    const timings_ms = {
      wait: waitedMs,
      ...result.timings_ms,
      model: performance.now() - since - waitedMs,
    };
    return { ...result, timings_ms, planes: buffers, by: ready };
  }

  /** One after the other, so that images keep the order in which they came. */
  #write(file: string, pixels: Uint8Array): Promise<void> {
    const written = this.#written
      .then(() => writeFile(file, pixels))
      .catch((error) => {
        throw new LotusError(
          'internal',
          `Cannot write to the scratch folder ${this.#scratch.dir}: ${messageOf(error)}. Set` +
            ' LOTUS_SCRATCH_DIR to one with more room.',
          { cause: error },
        );
      });
    this.#written = written.catch(() => {}); // the next one's turn comes either way
    return written;
  }

  #tellIfUp(): void {
    const { up } = this.#pool;
    if (up === this.#wasUp) return;
    this.#wasUp = up;
    this.#onUp?.(up);
  }
}

async function read(file: string | null): Promise<Buffer> {
  return file === null ? Buffer.alloc(0) : await readFile(file);
}
