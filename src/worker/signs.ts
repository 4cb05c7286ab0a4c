import { pause } from '../time/awake.ts';
import type { WorkerProcess } from './process.ts';

/** So often within the time that it has, a process is asked. */
const PINGS = 3;

/**
 * Ask a process for signs of life until it has ended. One that gives none in time is killed by that.
 *
 * @param livenessMs how long it has for one, in milliseconds awake.
 */
export async function askForSigns(
  process: WorkerProcess,
  livenessMs: number,
  ended: AbortSignal,
): Promise<void> {
  for (;;) {
    await pause(livenessMs / PINGS, ended);
    if (ended.aborted || !process.isUsable) return;
    // What comes in a pong's place is what the process ends by, and that is told where its end is.
    await process.ping(livenessMs).catch(() => {});
  }
}
