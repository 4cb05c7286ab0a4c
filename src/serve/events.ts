import type { Log } from '../log.ts';
import type { Observer, WorkerEvent } from '../runpod/events.ts';

/** How much each event matters to somebody who reads the log; a job's own line is the handler's. */
const LEVELS: Record<WorkerEvent['type'], 'debug' | 'info' | 'warn' | 'error'> = {
  taken: 'debug',
  finished: 'debug',
  delivered: 'debug',
  'progress-dropped': 'debug',
  duplicate: 'info',
  stopped: 'info',
  superseded: 'info',
  thawed: 'info',
  stopping: 'info',
  recovered: 'info',
  malformed: 'warn',
  aborted: 'warn',
  abandoned: 'warn',
  oversized: 'warn',
  'delivery-retried': 'warn',
  expired: 'warn',
  'backed-up': 'warn',
  'take-failed': 'warn',
  'stop-poll-failed': 'warn',
  'ping-failed': 'warn',
  'keep-failed': 'warn',
  'forget-failed': 'warn',
  'recover-failed': 'warn',
  'handler-threw': 'error',
  dropped: 'error',
  unfit: 'error',
};

/** Writes what happens between us and the platform to the log. */
export function logEvents(log: Log): Observer {
  return (event) => {
    const { type, ...fields } = event;
    log[levelOf(event)](fieldsOf(fields), type);
  };
}

/** What did not go smoothly is told also when it went well in the end. */
function levelOf(event: WorkerEvent) {
  return event.type === 'delivered' && event.attempts > 1 ? 'info' : LEVELS[event.type];
}

/** Under the names that they have in every line of ours, by which pino knows an error. */
function fieldsOf(fields: { id?: string | null; error?: unknown; [name: string]: unknown }) {
  const { id, error, ...rest } = fields;
  return {
    ...(id !== undefined && { job: id }),
    ...rest,
    ...(error instanceof Error ? { err: error } : error !== undefined && { error }),
  };
}
