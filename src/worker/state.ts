/**
 * The life of one Python process.
 *
 *     starting -> loading -> ready <-> running -> stopping -> stopped
 *
 * and `crashed` from any state but the last. `stopped` and `crashed` are final: a new life is a new
 * process.
 */
export type State =
  | 'starting'
  | 'loading'
  | 'ready'
  | 'running'
  | 'stopping'
  | 'stopped'
  | 'crashed';

const NEXT: Readonly<Record<State, readonly State[]>> = {
  starting: ['loading', 'stopping', 'crashed'],
  loading: ['ready', 'stopping', 'crashed'],
  ready: ['running', 'stopping', 'crashed'],
  running: ['ready', 'stopping', 'crashed'],
  stopping: ['stopped', 'crashed'],
  stopped: [],
  crashed: [],
};

/** The next state, or an Error when the table has no such step: a mistake in our own code. */
export function step(from: State, to: State): State {
  if (!NEXT[from].includes(to)) throw new Error(`a ${from} worker cannot become ${to}`);
  return to;
}
