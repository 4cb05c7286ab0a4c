/**
 * A line longer than this is an error. Real messages are under a few KiB; the bound keeps a runaway
 * writer from growing our memory. The Python side has the same.
 */
export const MAX_LINE_BYTES = 1 << 20;

const NEWLINE = 0x0a;

/** So many pieces of a line are joined before its end: each takes memory beside its own bytes. */
const MAX_PIECES = 1024;

/**
 * Cuts a stream of bytes into lines.
 *
 * The pieces of an unfinished line are kept as a list of chunks and joined once, when its end comes:
 * appending to one string instead makes a long line cost the square of its length.
 */
export class LineFramer {
  readonly #maxBytes: number;
  #pieces: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes: number = MAX_LINE_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Take the next bytes of the stream and give the lines that they finish, without their newlines.
   *
   * @throws RangeError when a line is longer than the bound. The framer is of no use after it.
   */
  push(chunk: Buffer): Buffer[] {
    const lines: Buffer[] = [];
    let start = 0;
    for (
      let end = chunk.indexOf(NEWLINE);
      end !== -1;
      start = end + 1, end = chunk.indexOf(NEWLINE, start)
    ) {
      this.#keep(chunk.subarray(start, end));
      lines.push(this.#take());
    }
    this.#keep(chunk.subarray(start));
    return lines;
  }

  /** The bytes of the line that has begun and not ended: what a dying writer left half said. */
  rest(): Buffer {
    return Buffer.concat(this.#pieces, this.#bytes);
  }

  #keep(piece: Buffer): void {
    this.#bytes += piece.length;
    if (this.#bytes > this.#maxBytes) {
      throw new RangeError(`a line is longer than ${this.#maxBytes} bytes`);
    }
    if (piece.length > 0) this.#pieces.push(piece);
    if (this.#pieces.length > MAX_PIECES) this.#pieces = [this.rest()];
  }

  #take(): Buffer {
    const line = this.rest();
    this.#pieces = [];
    this.#bytes = 0;
    return line;
  }
}
