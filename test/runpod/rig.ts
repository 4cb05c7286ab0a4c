import { afterEach } from 'vitest';
import type { WorkerEvent } from '../../src/runpod/events.ts';
import type { Handler } from '../../src/runpod/handler.ts';
import type { Timing, WorkerOptions } from '../../src/runpod/options.ts';
import { type Platform, readPlatform } from '../../src/runpod/platform.ts';
import { type Ending, RunPodWorker } from '../../src/runpod/worker.ts';
import { type PlatformOptions, StandInPlatform } from './platform.ts';

/** Waits that are short enough for tests; what bounds a hang is as long as ever. */
export const QUICK: Partial<Timing> = {
  lastTakeMs: 500,
  rateLimitedMs: 20,
  deliverPace: { firstMs: 2, maxMs: 20 },
  takePace: { firstMs: 2, maxMs: 20 },
  emptyPace: { firstMs: 2, maxMs: 20 },
  stopPollMs: 20,
};

export interface Rig {
  readonly platform: StandInPlatform;
  readonly worker: RunPodWorker;
  readonly ended: Promise<Ending>;
  readonly events: WorkerEvent[];
  /** The events of one type. */
  of<T extends WorkerEvent['type']>(type: T): Extract<WorkerEvent, { type: T }>[];
  /** Ends the worker. @returns how it ended. */
  end(): Promise<Ending>;
}

interface RigOptions extends Omit<Partial<WorkerOptions>, 'handler' | 'platform'> {
  readonly handler?: Handler;
  readonly platformOptions?: PlatformOptions;
  /** What the platform does before the worker starts. */
  readonly prepare?: (platform: StandInPlatform) => void;
  readonly pingMs?: number;
  readonly env?: Record<string, string>;
}

export const echo: Handler = async ({ input }) => ({ echo: input });

const rigs: Rig[] = [];
afterEach(async () => {
  await Promise.all(
    rigs.splice(0).map(async ({ end, platform }) => {
      await end();
      await platform.close();
    }),
  );
});

/** A worker that runs against a stand-in platform. Both end with the test. */
export async function startRig({ handler = echo, ...options }: RigOptions = {}): Promise<Rig> {
  const platform = await StandInPlatform.start(options.platformOptions);
  options.prepare?.(platform);
  const events: WorkerEvent[] = [];
  const worker = new RunPodWorker({
    ...options,
    handler,
    platform: readPlatform({ ...platform.env(options.pingMs), ...options.env }) as Platform,
    observer: (event) => {
      events.push(event);
      options.observer?.(event);
      platform.look();
    },
    timing: { ...QUICK, ...options.timing },
  });
  const ended = worker.run();
  const rig: Rig = {
    platform,
    worker,
    ended,
    events,
    of: <T extends WorkerEvent['type']>(type: T) =>
      events.filter((event): event is Extract<WorkerEvent, { type: T }> => event.type === type),
    end: () => {
      worker.stop();
      return ended;
    },
  };
  rigs.push(rig);
  return rig;
}

/** A handler that does not return before it is told to. */
export function heldHandler(): {
  handler: Handler;
  started: string[];
  release: (id: string) => void;
} {
  const started: string[] = [];
  const gates = new Map<string, PromiseWithResolvers<void>>();
  const gateOf = (id: string) => {
    const gate = gates.get(id) ?? Promise.withResolvers<void>();
    gates.set(id, gate);
    return gate;
  };
  return {
    started,
    handler: async ({ id, input }) => {
      started.push(id);
      await gateOf(id).promise;
      return { echo: input };
    },
    release: (id) => gateOf(id).resolve(),
  };
}

export function job(id: string, input: unknown = {}, more: Record<string, unknown> = {}) {
  return { id, input, ...more };
}
