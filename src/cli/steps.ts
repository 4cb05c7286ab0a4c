import type { Observer, StepOutcome } from '../provision/step.ts';
import { showProgress } from './progress.ts';
import type { Session } from './session.ts';

/** Every step as it ends, and what it says in between: lines for a person, records for a log. */
export function showSteps(session: Session): Observer {
  return {
    said: (step, line) => tell(session, `${step}: ${line}`, { step }),
    progressed: showProgress(session.terminal, (line, step) => tell(session, line, { step })),
    ended: ({ name, state, what, ms }) => {
      session.terminal.status('');
      tell(session, `${name}: ${STATES[state]}${what}`, { step: name, state, ms });
    },
    failed: (step) => {
      session.terminal.status('');
      tell(session, `${step}: failed`, { step, state: 'failed' });
    },
  };
}

const STATES: Record<StepOutcome['state'], string> = {
  ready: '',
  made: 'made: ',
  missing: 'to be made: ',
  skipped: 'skipped: ',
};

/** A line for a person, with how long it took where that is long; a record where nobody is looking. */
export function tell(
  { terminal, log }: Session,
  line: string,
  fields: Record<string, string | number> = {},
): void {
  if (!terminal.isInteractive) {
    log.info(fields, line);
    return;
  }
  const ms = Number(fields.ms ?? fields.total_ms ?? 0);
  terminal.note(ms < 1000 ? line : `${line} (${(ms / 1000).toFixed(1)} s)`);
}
