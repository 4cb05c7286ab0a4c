import { settlesWithin } from '../time/waiting.ts';
import type { Service } from './serve.ts';

/** How long what is done on the volume may hold up our end, in milliseconds. */
const LAST_MS = 10_000;

/** Wait for the end of something on the volume, which may never come, and not for longer than our own end can wait. */
export async function orLeave(
  work: Promise<unknown>,
  what: string,
  { log }: Pick<Service, 'log'>,
): Promise<void> {
  const tell = (err: unknown) => log.error({ err }, `${what} has not ended as it should`);
  if (await settlesWithin(work.catch(tell), LAST_MS)) return;
  tell(new Error(`no answer in ${LAST_MS / 1000} s`));
}
