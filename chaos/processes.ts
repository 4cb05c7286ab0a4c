/** What Linux tells of processes, see proc(5). */
import { readdir, readFile } from 'node:fs/promises';

/** What a process has of the machine. */
export interface Footprint {
  /** Bytes that lie in memory. */
  readonly rss: number;
  /** The same, with what is shared counted by its share; null where we may not look. */
  readonly pss: number | null;
  readonly threads: number;
  /** Open descriptors; null where we may not look. */
  readonly descriptors: number | null;
}

/** @returns null when there is no such process any more. */
export async function footprintOf(pid: number): Promise<Footprint | null> {
  const status = await read(pid, 'status');
  if (status === '') return null;
  const rollup = await read(pid, 'smaps_rollup');
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => null);
  return {
    rss: kilobytes(status, 'VmRSS') ?? 0,
    pss: kilobytes(rollup, 'Pss'),
    threads: Number(/^Threads:\s+(\d+)/m.exec(status)?.[1] ?? 0),
    descriptors: descriptors?.length ?? null,
  };
}

/** Bytes of address space that a process has. */
export async function addressSpaceOf(pid: number): Promise<number | null> {
  return kilobytes(await read(pid, 'status'), 'VmSize');
}

/** Whether it is there and no zombie. */
export async function isAlive(pid: number): Promise<boolean> {
  const stat = statOf(await read(pid, 'stat'));
  return stat !== null && stat.state !== 'Z' && stat.state !== 'X';
}

/** The Python process of a worker: its child that runs our package. */
export async function pythonsOf(node: number): Promise<number[]> {
  const found = await Promise.all(
    (await allPids()).map(async (pid) => {
      const stat = statOf(await read(pid, 'stat'));
      if (stat?.parent !== node || stat.state === 'Z') return [];
      return (await read(pid, 'cmdline')).includes('lotus_worker') ? [pid] : [];
    }),
  );
  return found.flat();
}

/** Processes in whose environment that is, whoever their parent has become. */
export async function processesOf(mark: string): Promise<{ pid: number; command: string }[]> {
  const found = await Promise.all(
    (await allPids()).map(async (pid) => {
      if (pid === process.pid || !(await read(pid, 'environ')).includes(mark)) return [];
      const command = (await read(pid, 'cmdline')).replaceAll('\0', ' ').trim();
      return [{ pid, command }];
    }),
  );
  return found.flat();
}

/** To one that may have just ended. */
export function send(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function allPids(): Promise<number[]> {
  return (await readdir('/proc')).map(Number).filter((pid) => pid > 0);
}

/** @returns nothing of a process that is gone, or another user's. */
async function read(pid: number, file: string): Promise<string> {
  return await readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
}

/** The name in the second field may have blanks and brackets in it. */
function statOf(text: string): { state: string; parent: number } | null {
  const [state, parent] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return state && parent ? { state, parent: Number(parent) } : null;
}

function kilobytes(text: string, name: string): number | null {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1];
  return found === undefined ? null : Number(found) * 1024;
}
