import type { Random } from './random.ts';

/** What a fault waits for before it strikes. */
export type Moment =
  /** A job is being worked on. */
  | 'running'
  /** A result was computed, and the platform has refused it so far. */
  | 'owing'
  /** The platform has just accepted a result, and the connection broke before it said so. */
  | 'unacknowledged'
  | 'any';

export type PythonFault = {
  readonly on: 'python';
  /**
   * `kill`: SIGKILL, which is also what the system does when memory runs out. `stop`: SIGSTOP, as one that hangs.
   * `garble`: what is no message comes from it. `starve`: it gets no more memory for a while.
   */
  readonly what: 'kill' | 'stop' | 'garble' | 'starve';
  readonly moment: Moment;
};

export type NodeFault = {
  readonly on: 'node';
  /** `kill`: SIGKILL. `terminate`: SIGTERM. `freeze`: with Python, as a container is frozen between jobs. */
  readonly what: 'kill' | 'terminate' | 'freeze';
  readonly moment: Moment;
  /** Who comes after it: the platform knows a worker by its id. */
  readonly next: 'same' | 'another';
  /** Until then, or for so long. */
  readonly ms: number;
};

export type PlatformFault = {
  readonly on: 'platform';
  readonly what: 'errors' | 'slow' | 'drop' | 'lose' | 'limit' | 'outage';
  readonly of: 'takes' | 'posts' | 'both';
  readonly ms: number;
};

export type Fault = PythonFault | NodeFault | PlatformFault;

/** One that is due so long after the one before it is over. */
export interface Due {
  readonly afterMs: number;
  readonly fault: Fault;
}

/** Faults without end: a deck with one of each kind, shuffled anew whenever it has run out. */
export function* schedule(random: Random): Generator<Due, never> {
  for (;;) {
    for (const fault of random.shuffle(deck(random))) {
      yield { afterMs: random.int(300, 3_000), fault };
    }
  }
}

function deck(random: Random): Fault[] {
  const ms = () => random.int(500, 3_000);
  const python = (what: PythonFault['what'], moment: Moment): Fault => ({
    on: 'python',
    what,
    moment,
  });
  const node = (
    what: NodeFault['what'],
    moment: Moment,
    next: NodeFault['next'] = 'same',
    after = random.int(0, 1_500),
  ): Fault => ({ on: 'node', what, moment, next, ms: after });
  const platform = (what: PlatformFault['what'], of: PlatformFault['of'] = 'both'): Fault => ({
    on: 'platform',
    what,
    of,
    ms: ms(),
  });
  return [
    python('kill', 'running'),
    python('kill', 'running'),
    python('kill', 'any'),
    python('stop', 'running'),
    python('stop', 'any'),
    python('garble', 'running'),
    python('garble', 'any'),
    python('starve', 'running'),
    node('kill', 'running'),
    node('kill', 'owing'),
    node('kill', 'owing', 'another'),
    node('kill', 'unacknowledged'),
    node('kill', 'any', 'another'),
    node('terminate', 'running'),
    // Longer than what counts as a freeze (`FROZEN_MS` in src/runpod/http.ts).
    node('freeze', 'running', 'same', random.int(5_500, 8_000)),
    platform('errors'),
    platform('errors', 'posts'),
    platform('slow'),
    platform('drop'),
    platform('lose', 'takes'),
    platform('lose', 'posts'),
    platform('limit'),
    platform('outage'),
    platform('outage'),
  ];
}

/** In words, for the log. */
export function describe(fault: Fault): string {
  switch (fault.on) {
    case 'python':
      return `python: ${fault.what}, ${fault.moment}`;
    case 'node':
      return `node: ${fault.what}, ${fault.moment}, ${fault.next} id next, ${fault.ms} ms`;
    case 'platform':
      return `platform: ${fault.what}, ${fault.of}, ${fault.ms} ms`;
  }
}
