import { setTimeout as sleep } from 'node:timers/promises';
import type { PlatformFault } from './schedule.ts';
import type { Outcome, Stage } from './stage.ts';

export async function strikePlatform(
  { what, of, ms }: PlatformFault,
  { platform, script, random, signal }: Stage,
): Promise<Outcome> {
  const wait = () => sleep(ms, undefined, { signal });
  if (what === 'outage') {
    await platform.outage(wait);
    return {};
  }
  script.begin(what, of, random.int(50, 100));
  try {
    await wait();
  } finally {
    script.end();
  }
  return {};
}
