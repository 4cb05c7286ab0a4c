import { readFileSync } from 'node:fs';

/**
 * Bytes of memory that a process has to itself. What it shares, as the files that pixels pass through, is not counted.
 *
 * Source: proc_pid_status(5), `RssAnon`.
 *
 * @returns null where that cannot be known: it has ended, or this is not Linux.
 */
export function privateMemory(pid: number): number | null {
  const kib = /^RssAnon:\s*(\d+) kB$/m.exec(statusOf(pid))?.[1];
  return kib === undefined ? null : Number(kib) * 1024;
}

/** No disk is behind it, and the model would wait for its turn among the reads that are. */
function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return '';
  }
}

/** Watches how much a process has grown since its first run, after which it has all that it needs. */
export class Growth {
  readonly #limit: number;
  #first: number | undefined;

  /** @param limit bytes of growth that are too many. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Takes what a process has after a run. @returns the bytes that it has grown by, when these are too many. */
  tooMuch(bytes: number): number | null {
    this.#first ??= bytes;
    const grown = bytes - this.#first;
    return grown > this.#limit ? grown : null;
  }
}
