import { createHash } from 'node:crypto';
import { LotusError } from '../errors.ts';
import type { RunRequest } from './protocol.ts';

/** More are forgotten, the oldest first. */
const MAX_KNOWN = 1000;

/** Raw pixels and how they are computed: all of a run that a process can die of. */
export interface Suspect {
  readonly image: { readonly pixels: Uint8Array; readonly width: number; readonly height: number };
  readonly options: RunRequest['options'];
}

/** Remembers which images, with which options, have killed the process, so that they do it no more. */
export class PoisonList {
  readonly #known = new Set<string>();

  /** @throws LotusError `poison_job` when it is one. */
  refuse(suspect: Suspect): void {
    if (this.#known.size === 0) return; // a digest of every image would be waste
    if (this.#known.has(fingerprint(suspect))) throw poisonJob();
  }

  /** It has killed the process, and killed it again. @returns what its caller gets. */
  add(suspect: Suspect, cause: LotusError | undefined): LotusError {
    const [oldest] = this.#known;
    if (this.#known.size >= MAX_KNOWN && oldest !== undefined) this.#known.delete(oldest);
    this.#known.add(fingerprint(suspect));
    return poisonJob(cause);
  }
}

function poisonJob(cause?: LotusError): LotusError {
  return new LotusError(
    'poison_job',
    'The model process died of this image with these options twice; it is not run again. Other options may do' +
      ' (a smaller processing_res).',
    { cause },
  );
}

/** Without the seed: whoever changes that alone has changed nothing about what it costs. */
function fingerprint({ image, options: { seed: _, ...options } }: Suspect): string {
  return createHash('sha256')
    .update(JSON.stringify([image.width, image.height, options]))
    .update(image.pixels)
    .digest('base64');
}
