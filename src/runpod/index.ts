/** The public face of the library, `lotus-worker/runpod`; the project's own code imports the files themselves. */
// biome-ignore-all lint/performance/noBarrelFile: what a package exports has to be named in one place
export type { Pace } from '../time/backoff.ts';
export type { Counts } from './counts.ts';
export type { EndReason, Observer, WorkerEvent } from './events.ts';
export {
  type Handler,
  type Job,
  type JobContext,
  type JobPolicy,
  JobStopped,
  type StopCause,
} from './handler.ts';
export { LIMITS, type Limits, TIMING, type Timing, type WorkerOptions } from './options.ts';
export type { Kept, Outbox, Owed } from './outbox.ts';
export { type Platform, PlatformError, PlatformKey, readPlatform } from './platform.ts';
export { type Ending, RunPodWorker } from './worker.ts';
