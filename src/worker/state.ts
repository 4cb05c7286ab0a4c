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
export const step = stepper('worker', NEXT);

/**
 * The life of a place for such processes, one after the other.
 *
 *     starting -> up -> waiting -> starting -> ...
 *
 * It is `up` while its process is `ready` or `running`, and `waiting` between a crash and the next start; a
 * process that has grown too large is replaced without a wait. `failed` and `stopped` are final.
 */
export type PlaceState = 'starting' | 'up' | 'waiting' | 'failed' | 'stopped';

const NEXT_OF_PLACE: Readonly<Record<PlaceState, readonly PlaceState[]>> = {
  starting: ['up', 'waiting', 'failed', 'stopped'],
  up: ['starting', 'waiting', 'failed', 'stopped'],
  waiting: ['starting', 'stopped'],
  failed: [],
  stopped: [],
};

/** The same for a place. */
export const stepOfPlace = stepper('place', NEXT_OF_PLACE);

function stepper<S extends string>(what: string, next: Readonly<Record<S, readonly S[]>>) {
  return (from: S, to: S): S => {
    if (!next[from].includes(to)) throw new Error(`a ${from} ${what} cannot become ${to}`);
    return to;
  };
}
