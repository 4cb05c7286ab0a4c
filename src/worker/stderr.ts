import { StringDecoder } from 'node:string_decoder';
import type { Log } from '../log.ts';

/** How much of the end of standard error a crash report shows. */
const TAIL_LINES = 20;

/** Longer lines are cut: a log line is for reading. */
const MAX_LINE_CHARS = 2000;

const LEVELS = {
  DEBUG: 'debug',
  INFO: 'info',
  WARNING: 'warn',
  ERROR: 'error',
  CRITICAL: 'fatal',
} as const;

/** `LEVEL logger: message`, as `python/lotus_worker/stdio.py` writes it. */
const RECORD = /^(DEBUG|INFO|WARNING|ERROR|CRITICAL) ([\w.]+): (.*)$/s;

/**
 * Logs what a process writes to standard error, line by line, and keeps the end of it for a crash
 * report. A line without a level of its own (a print, a progress bar) is logged at debug; behind an error
 * it belongs to it, as a traceback's lines do, and is logged at the error's.
 */
export class StderrLog {
  readonly #log: Log;
  readonly #decoder = new StringDecoder('utf8');
  readonly #tail: string[] = [];
  #unfinished = '';
  #behind: 'debug' | 'error' | 'fatal' = 'debug';

  constructor(log: Log) {
    this.#log = log;
  }

  /** Take the next bytes. */
  push(chunk: Buffer): void {
    const lines = (this.#unfinished + this.#decoder.write(chunk)).split(/\r\n|[\n\r]/);
    // Bounded, since a writer may never end its line.
    this.#unfinished = (lines.pop() ?? '').slice(0, MAX_LINE_CHARS);
    for (const line of lines) this.#line(line);
  }

  /** Log what was written without an end of line. */
  end(): void {
    this.push(Buffer.from('\n'));
  }

  /** The last lines, for a crash report. */
  tail(): string {
    return this.#tail.join('\n');
  }

  #line(whole: string): void {
    const line = whole.slice(0, MAX_LINE_CHARS).trimEnd();
    if (line === '') return;
    this.#tail.push(line);
    if (this.#tail.length > TAIL_LINES) this.#tail.shift();
    const [, level, logger, message] = RECORD.exec(line) ?? [];
    if (level === undefined) {
      this.#log[this.#behind](line);
    } else {
      const own = LEVELS[level as keyof typeof LEVELS];
      this.#behind = own === 'error' || own === 'fatal' ? own : 'debug';
      this.#log[own]({ logger }, message);
    }
  }
}
