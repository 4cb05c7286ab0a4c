import { ApiError } from './errors.ts';

/** A body that is being read. */
export interface Place {
  /** So many more bytes of it have come. */
  take(bytes: number): void;
  leave(): void;
}

interface Reading {
  bytes: number;
  readonly sendAway: (reason: ApiError) => void;
}

/**
 * Bounds what bodies have together that are being read. Only what has arrived counts, so announcing much and sending
 * little holds nothing. When there is too much, the one that was begun first goes: whoever wants to keep the others out
 * has to send faster than they do.
 */
export class ReadingRoom {
  readonly #maxBytes: number;
  /** The oldest first. */
  readonly #readings = new Set<Reading>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** @param sendAway called when the body is not to be read to its end; its place is left by that. */
  enter(sendAway: (reason: ApiError) => void): Place {
    const reading: Reading = { bytes: 0, sendAway };
    this.#readings.add(reading);
    return {
      take: (bytes) => {
        if (!this.#readings.has(reading)) return; // it was sent away
        reading.bytes += bytes;
        this.#bytes += bytes;
        this.#makeRoom();
      },
      leave: () => this.#remove(reading),
    };
  }

  #makeRoom(): void {
    for (const reading of this.#readings) {
      if (this.#bytes <= this.#maxBytes) return;
      this.#remove(reading);
      reading.sendAway(
        new ApiError(
          'busy',
          'Too much is being read at once, and this body for longest: try again later. It has more room with the key in a header.',
        ),
      );
    }
  }

  #remove(reading: Reading): void {
    if (this.#readings.delete(reading)) this.#bytes -= reading.bytes;
  }
}
