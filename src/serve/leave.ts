import { Bounded } from '../time/bounded.ts';
import type { Service } from './serve.ts';

/** How long what is done on the volume may hold up our end, in milliseconds. */
const LAST_MS = 10_000;

/** Wait for the end of something on the volume, which may never come, and not for longer than our own end can wait. */
export async function orLeave(
  work: Promise<unknown>,
  what: string,
  { log }: Pick<Service, 'log'>,
): Promise<void> {
  const bounded = new Bounded({ waitMs: LAST_MS, maxHanging: 1 });
  try {
    await bounded.run(() => work);
  } catch (error) {
    log.error({ err: error }, `${what} has not ended as it should`);
  }
}
