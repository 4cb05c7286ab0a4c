import type { WorkerEvent } from './events.ts';

/** How a worker's life was, in numbers. */
export interface Counts {
  taken: number;
  malformed: number;
  duplicates: number;
  /** Jobs whose handler has ended and whose result was wanted; `failed` of them with an error. */
  finished: number;
  failed: number;
  /** Results that the platform has accepted. */
  delivered: number;
  /** Posts of a result that the platform may have had already: an acknowledgement was lost, or a worker with it. */
  repeats: number;
  /** Results that the platform would not take. */
  dropped: number;
  /** Results of former workers that were taken over for delivery; what became of them is counted as of any other. */
  recovered: number;
  /** Results of former workers that the platform would take no more. */
  expired: number;
  stopped: number;
  abandoned: number;
}

export function noCounts(): Counts {
  return {
    taken: 0,
    malformed: 0,
    duplicates: 0,
    finished: 0,
    failed: 0,
    delivered: 0,
    repeats: 0,
    dropped: 0,
    recovered: 0,
    expired: 0,
    stopped: 0,
    abandoned: 0,
  };
}

/** Adds an event to the counts. */
export function count(counts: Counts, event: WorkerEvent): void {
  switch (event.type) {
    case 'taken':
    case 'malformed':
    case 'recovered':
    case 'expired':
    case 'stopped':
    case 'abandoned':
      counts[event.type] += 1;
      break;
    case 'duplicate':
      counts.duplicates += 1;
      break;
    case 'finished':
      counts.finished += 1;
      if (event.failed) counts.failed += 1;
      break;
    case 'delivered':
    case 'dropped':
      counts[event.type] += 1;
      counts.repeats += event.repeats;
      break;
  }
}
