import { readFile, statfs } from 'node:fs/promises';
import os from 'node:os';
import type { Config } from '../config.ts';
import { describeFree, gigabytes } from '../provision/room.ts';
import { chooseParent, SHARED_MEMORY } from '../worker/scratch.ts';
import { type Finding, fault, note, ok } from './finding.ts';

/** Loading a released model in float32 takes about 7 GB; measured on the CPU. */
const MEMORY_NEEDED = 7e9;

/** Memory, processors, open files, and where the pixels pass. */
export async function examineLimits(config: Config): Promise<Finding[]> {
  return [
    await examineMemory(),
    ok('processors', `${os.availableParallelism()}`),
    await examineOpenFiles(),
    await examineScratch(config),
  ];
}

/** The container's limit, which a machine's own memory says nothing about; cgroup v2, then v1. */
async function examineMemory(): Promise<Finding> {
  const files = ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'];
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  const limits = texts.map(Number.parseFloat).filter((limit) => limit > 0);
  const bytes = Math.min(os.totalmem(), ...limits);
  const what = `${gigabytes(bytes)}${bytes < os.totalmem() ? ', the limit of this container' : ''}`;
  if (bytes >= MEMORY_NEEDED) return ok('memory', what);
  return note('memory', what, 'a released model takes about 7 GB while it loads on the CPU');
}

async function examineOpenFiles(): Promise<Finding> {
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => ''); // not Linux
  const [, soft] = /^Max open files\s+(\S+)/m.exec(text) ?? [];
  return ok('open files', soft ?? 'unknown');
}

async function examineScratch(config: Config): Promise<Finding> {
  const dir = config.scratchDir ?? (await chooseParent());
  try {
    const { type } = await statfs(dir);
    const what = `${dir}, ${await describeFree(dir)}`;
    if (type === TMPFS_MAGIC) return ok('scratch', `${what}, in memory`);
    const why = dir === SHARED_MEMORY || config.scratchDir ? '' : `; ${SHARED_MEMORY} has no room`;
    return note(
      'scratch',
      `${what}, on a disk${why}`,
      'give the container more shared memory (docker run --shm-size 1g)',
    );
  } catch (error) {
    return fault('scratch', `${dir}: ${String(error)}`, 'set LOTUS_SCRATCH_DIR');
  }
}

/** statfs(2)'s number for tmpfs. */
const TMPFS_MAGIC = 0x01021994;
