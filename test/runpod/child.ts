import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import type { Timing } from '../../src/runpod/options.ts';
import { type PlatformOptions, StandInPlatform } from './platform.ts';
import { QUICK } from './rig.ts';

const PROGRAM = path.join(import.meta.dirname, '..', 'fixtures', 'runpod', 'worker.ts');

interface ChildOptions {
  readonly timing?: Partial<Timing>;
  readonly pingMs?: number;
  readonly platformOptions?: PlatformOptions;
  /** Where the worker finds the platform, when that is not where it listens. */
  readonly port?: number;
}

/** A worker in a process of its own, and its platform in this one. Disposing of it ends both. */
export async function startChild({
  timing = {},
  pingMs,
  platformOptions,
  port,
}: ChildOptions = {}) {
  const platform = await StandInPlatform.start(platformOptions);
  const child = execa(process.execPath, [PROGRAM], {
    env: { ...platform.env(pingMs, port), TIMING: JSON.stringify({ ...QUICK, ...timing }) },
    reject: false,
    buffer: { stdout: false },
  });
  const events: { type: string; [field: string]: unknown }[] = [];
  const reading = (async () => {
    for await (const line of child) {
      events.push(JSON.parse(line));
      platform.look();
    }
  })();
  const pid = child.pid as number;
  return {
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await Promise.all([child, reading]);
      await platform.close();
    },
    platform,
    of: (type: string) => events.filter((event) => event.type === type),
    terminate: () => child.kill('SIGTERM'),
    ended: Promise.all([child, reading]).then(([result]) => result),
    /** Frozen as the kernel freezes, for as long as that takes. */
    frozen: async (during: () => Promise<void>) => {
      process.kill(pid, 'SIGSTOP');
      while (stateOf(pid) !== 'T') await sleep(1);
      await during();
      process.kill(pid, 'SIGCONT');
    },
  };
}

/** The third field of /proc/PID/stat, see proc(5). */
function stateOf(pid: number): string | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[0];
}

/** Longer than what counts as a freeze (`FROZEN_MS` in http.ts). */
export const A_FREEZE_MS = 6_000;
