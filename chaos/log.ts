/** A line of the worker's log, as far as it matters here. */
export interface Line {
  /** Seconds, when it was read. */
  readonly t: number;
  /** Which of the worker's lives has written it. */
  readonly life: number;
  readonly level: number;
  readonly msg: string;
  readonly job?: string;
  readonly outcome?: string;
  readonly code?: string;
}

/** pino's. */
const FATAL = 60;

/** What is no record is the last thing that Node said, or a mistake: it is kept in full. */
export function readLine(text: string, life: number, t: number): Line {
  const said = parse(text);
  if (said === null) return { t, life, level: FATAL, msg: text };
  const { level, msg, job, outcome, code } = said;
  return {
    t,
    life,
    level: Number(level),
    msg: String(msg),
    ...(typeof job === 'string' && { job }),
    ...(typeof outcome === 'string' && { outcome }),
    ...(typeof code === 'string' && { code }),
  };
}

function parse(text: string): Record<string, unknown> | null {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
