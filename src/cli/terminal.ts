import { allowsColour } from '../colour.ts';
import type { Environment } from '../config.ts';

/**
 * What a person sees: results on standard output, everything else on standard error. When that is a
 * terminal, its last line may be a status that is drawn over.
 */
export class Terminal {
  #status = '';

  /** Whether a person is looking. */
  readonly isInteractive = process.stderr.isTTY;

  /** A dumb terminal cannot be drawn over. */
  readonly #draws = process.stderr.isTTY && process.env.TERM !== 'dumb';

  /** A line of results, on standard output. */
  result(line: string): void {
    this.#around(() => process.stdout.write(`${line}\n`));
  }

  /** A line for the person, on standard error. */
  note(line: string): void {
    this.#around(() => process.stderr.write(`${line}\n`));
  }

  /** Draw the status line, on a terminal; an empty one removes it. */
  status(text: string): void {
    if (!this.#draws || text === this.#status) return;
    this.#status = text;
    this.#draw();
  }

  /** A bar, a count and a text: `[######----] 6/10  photo.jpg`. */
  progress(done: number, total: number, text: string): void {
    this.status(`${bar(done, total)} ${done}/${total}  ${text}`);
  }

  #around(write: () => void): void {
    if (this.#status !== '') process.stderr.write('\r\x1b[K');
    write();
    if (this.#status !== '') this.#draw();
  }

  #draw(): void {
    // One column less than there is: a full line would wrap and could not be drawn over. 0: the terminal does not say.
    const room = (process.stderr.columns || 80) - 1;
    process.stderr.write(`\r\x1b[K${this.#status.slice(0, room)}`);
  }
}

/**
 * Whether there is a terminal that says it has 24-bit colours, and its owner wants any. Node.js's own `hasColors`
 * guesses where none of that is said.
 */
export function hasTrueColour(isTty: boolean, env: Environment): boolean {
  return isTty && allowsColour(env) && ['truecolor', '24bit'].includes(env.COLORTERM ?? '');
}

/** How much of it is done, in 20 columns: `[######--------------]`. */
export function bar(done: number, total: number): string {
  const width = 20;
  const full = total === 0 ? width : Math.floor((width * Math.min(done, total)) / total);
  return `[${'#'.repeat(full).padEnd(width, '-')}]`;
}

/** Rows of columns, each as wide as its widest cell; numbers to the right. */
export function table(rows: readonly (readonly (string | number)[])[]): string {
  const cells = rows.map((row) =>
    row.map((cell) => (typeof cell === 'number' ? cell.toFixed(1) : cell)),
  );
  const widths: number[] = [];
  for (const row of cells) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  const line = (row: readonly string[], r: number) =>
    row.map((cell, i) => {
      const width = widths[i] ?? 0;
      return typeof rows[r]?.[i] === 'number' ? cell.padStart(width) : cell.padEnd(width);
    });
  return cells.map((row, r) => `  ${line(row, r).join('  ')}`.trimEnd()).join('\n');
}
