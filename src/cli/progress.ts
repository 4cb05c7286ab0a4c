import { duration, gigabytes } from '../provision/room.ts';
import type { Observer } from '../provision/step.ts';
import { bar, type Terminal } from './terminal.ts';

/** Between two drawings on a terminal, and between two lines of a log, in milliseconds. */
export interface ProgressTiming {
  draw: number;
  log: number;
}
const TIMING: ProgressTiming = { draw: 200, log: 10_000 };

/**
 * Shows how far something long has come: a bar on a terminal, which goes when it is done, and a line from time
 * to time elsewhere.
 */
export function showProgress(
  terminal: Terminal,
  tell: (line: string, step: string) => void,
  timing = TIMING,
): NonNullable<Observer['progressed']> {
  const every = terminal.isInteractive ? timing.draw : timing.log;
  let what = '';
  let first = { done: 0, at: 0 };
  let last = { done: 0, at: 0 };
  return (step, doing, done, total) => {
    const at = performance.now();
    const isOther = what !== `${step}: ${doing}`;
    if (isOther) {
      what = `${step}: ${doing}`;
      first = { done, at };
      last = first;
    }
    if (terminal.isInteractive && done >= total) return terminal.status('');
    if (isOther ? !terminal.isInteractive : at - last.at < every) return;
    if (!terminal.isInteractive && done === last.done) return;
    last = { done, at };
    const rate = (done - first.done) / Math.max(1e-3, (at - first.at) / 1000);
    const line = `${what} ${describe(done, total, rate)}`;
    if (terminal.isInteractive) terminal.status(`${bar(done, total)} ${line}`);
    else tell(line, step);
  };
}

function describe(done: number, total: number, rate: number): string {
  const share = `${gigabytes(done)} of ${gigabytes(total)}`;
  if (rate <= 0) return share;
  return `${share}, ${(rate / 1e6).toFixed(1)} MB/s, ${duration((total - done) / rate)} to go`;
}
