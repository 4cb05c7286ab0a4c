import { readFileSync, readlinkSync } from 'node:fs';
import os from 'node:os';
import { z } from 'zod';

/** A process that holds something on a volume which other machines see too. */
export const ownerSchema = z.object({
  /** For people. */
  host: z.string(),
  pid: z.number(),
  command: z.string(),
  since: z.string(),
  /** The running kernel and the PID namespace: where `pid` means something. */
  machine: z.string(),
  /** When the process was started, in the kernel's ticks: a pid is given again. */
  born: z.string().nullable(),
});
export type Owner = z.infer<typeof ownerSchema>;

/** This process, as an owner. */
export function thisProcess(): Owner {
  return {
    host: os.hostname(),
    pid: process.pid,
    command: ['lotus-worker', ...process.argv.slice(2, 3)].join(' '),
    since: new Date().toISOString(),
    machine: thisMachine(),
    born: statOf(process.pid)?.born ?? null,
  };
}

/** Whether an owner is known to be gone; false also when it is on another machine and nobody can tell. */
export function isGone(owner: Owner): boolean {
  if (owner.machine !== thisMachine()) return false;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
  const stat = statOf(owner.pid);
  if (stat === null) return false; // not Linux
  // Dead, and nobody has asked yet how it ended: in a container without an init nobody ever does.
  return stat.state === 'Z' || (owner.born !== null && owner.born !== stat.born);
}

/** `lotus-worker bootstrap on pod-1 (process 17, since 2026-01-31T12:00:00.000Z)` */
export function describeOwner({ command, host, pid, since }: Owner): string {
  return `${command} on ${host} (process ${pid}, since ${since})`;
}

function thisMachine(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return os.hostname(); // not Linux: no containers that share a name
  }
}

/** The third and the 22nd field of /proc/PID/stat, see proc(5); null where there is none. */
function statOf(pid: number): { state: string; born: string } | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, the program's name, may hold spaces and parentheses.
    const [state = '', ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state, born: rest[18] ?? '' };
  } catch {
    return null;
  }
}
