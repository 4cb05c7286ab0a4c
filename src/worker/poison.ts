import { createHash } from 'node:crypto';
import { LotusError } from '../errors.ts';
import type { Crash } from './crash-budget.ts';
import type { RunRequest } from './protocol.ts';

/** So many deaths are no chance: a process may have died of something else once. */
const MAX_DEATHS = 2;

/** More are forgotten, the oldest first. */
const MAX_KNOWN = 1000;

/** Raw pixels and how they are computed: all of a run that a process can die of. */
export class Suspect {
  readonly image: { readonly pixels: Uint8Array; readonly width: number; readonly height: number };
  readonly #options: RunRequest['options'];
  #fingerprint: string | undefined;

  constructor(image: Suspect['image'], options: RunRequest['options']) {
    this.image = image;
    this.#options = options;
  }

  /** Made when it is asked for first: of the largest image it takes 30 ms. */
  get fingerprint(): string {
    this.#fingerprint ??= fingerprint(this.image, this.#options);
    return this.#fingerprint;
  }
}

/** Remembers which images, with which options, processes have died of, so that they do it no more. */
export class PoisonList {
  readonly #deaths = new Map<string, Crash[]>();

  /** @throws LotusError `poison_job` when it has killed too often, also under another name. */
  refuse(suspect: Suspect): void {
    if (this.#deaths.size === 0) return; // a digest of every image would be waste
    const deaths = this.#deaths.get(suspect.fingerprint)?.length ?? 0;
    if (deaths >= MAX_DEATHS) throw poisonJob();
  }

  /**
   * A process has died of it. When it is found guilty the processes are forgiven.
   *
   * @returns how often that was.
   */
  blame(suspect: Suspect, crash: Crash): number {
    const { fingerprint } = suspect;
    const crashes = [...(this.#deaths.get(fingerprint) ?? []), crash];
    this.#deaths.delete(fingerprint);
    const [oldest] = this.#deaths.keys();
    if (this.#deaths.size >= MAX_KNOWN && oldest !== undefined) this.#deaths.delete(oldest);
    this.#deaths.set(fingerprint, crashes);
    if (crashes.length >= MAX_DEATHS) for (const one of crashes) one.isForgiven = true;
    return crashes.length;
  }

  /** It went well: what it was blamed for was something else's fault. */
  clear(suspect: Suspect): void {
    if (this.#deaths.size > 0) this.#deaths.delete(suspect.fingerprint);
  }
}

function poisonJob(): LotusError {
  return new LotusError(
    'poison_job',
    'The model process died of this image with these options twice; it is not run again. Other options may do' +
      ' (a smaller processing_res).',
  );
}

/** Without the seed: whoever changes that alone has changed nothing about what it costs. */
function fingerprint(
  image: Suspect['image'],
  { seed: _, ...options }: RunRequest['options'],
): string {
  return createHash('sha256')
    .update(JSON.stringify([image.width, image.height, options]))
    .update(image.pixels)
    .digest('hex')
    .slice(0, 32);
}
