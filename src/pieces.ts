/** Pieces smaller than this are copied together. */
const LARGE_BYTES = 16 * 1024;
const BLOCK_BYTES = 64 * 1024;

/** So many pieces are taken whatever their size; beyond them, they must have so many bytes on average. */
const FREE_PIECES = 100_000;
const LEAST_BYTES = 64;

/**
 * Bytes that a stranger sends in pieces of any size. A piece takes some hundred bytes of memory beside its own, and some
 * of the processor's time: kept as they come, a megabyte in pieces of one byte would take a gigabyte.
 */
export class Pieces {
  readonly #kept: Buffer[] = [];
  #block = Buffer.alloc(0);
  #used = 0;
  #bytes = 0;
  #count = 0;

  /** How many bytes there are. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether they come in more pieces than anybody needs for them. */
  get areTooSmall(): boolean {
    return this.#count > FREE_PIECES + this.#bytes / LEAST_BYTES;
  }

  add(piece: Buffer): void {
    this.#count += 1;
    this.#bytes += piece.length;
    const isLarge = piece.length >= LARGE_BYTES;
    if (isLarge || this.#used + piece.length > this.#block.length) this.#flush();
    if (isLarge) {
      this.#kept.push(piece);
    } else {
      if (this.#block.length === 0) this.#block = Buffer.allocUnsafe(BLOCK_BYTES);
      this.#used += piece.copy(this.#block, this.#used);
    }
  }

  /** All of them in one. */
  join(): Buffer {
    this.#flush();
    return Buffer.concat(this.#kept, this.#bytes);
  }

  /** A copy of the block's used part is kept, so that what is kept is no larger than what has come. */
  #flush(): void {
    if (this.#used > 0) this.#kept.push(Buffer.from(this.#block.subarray(0, this.#used)));
    this.#used = 0;
  }
}
