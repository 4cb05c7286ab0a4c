import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { addressSpaceOf, isAlive, send } from './processes.ts';
import type { PythonFault } from './schedule.ts';
import { type Outcome, type Stage, waitFor } from './stage.ts';
import { LIVENESS_TIMEOUT_S, LOAD_TIMEOUT_S } from './worker.ts';

/** How long a moment is waited for, which may be the time that it takes to load; then it strikes all the same. */
const MOMENT_MS = 30_000;

/** What a process that is to end has for it beside the worker's time-out: the rungs from SIGTERM to SIGKILL, and some. */
const RUNGS_MS = 25_000;

const GARBLE = path.join(import.meta.dirname, 'garble.py');

export async function strikePython(fault: PythonFault, stage: Stage): Promise<Outcome> {
  const { worker, signal } = stage;
  if (fault.moment === 'running') {
    await waitFor(() => worker.isComputing(), MOMENT_MS, signal);
  } else {
    await waitFor(async () => (await worker.python()) !== null, MOMENT_MS, signal);
  }
  const pid = await worker.python();
  if (pid === null) return { missed: 'there was no Python process' };
  return { pid, ...(await ACTS[fault.what](pid, stage)) };
}

const ACTS: Record<PythonFault['what'], (pid: number, stage: Stage) => Promise<Outcome>> = {
  kill: async (pid) => {
    send(pid, 'SIGKILL');
    return {};
  },
  stop: async (pid, stage) => {
    send(pid, 'SIGSTOP');
    return await expectEnd(pid, stage, 'that hung');
  },
  garble: async (pid, stage) => {
    const { python } = stage.workspace;
    const { failed, stderr } = await execa(python, [GARBLE, String(pid)], { reject: false });
    if (failed) return { missed: stderr || 'garble.py has failed' };
    return await expectEnd(pid, stage, 'that spoke garbage');
  },
  starve,
};

/** It gets no more memory until a job has failed of that, or a little longer. */
async function starve(pid: number, { worker, signal }: Stage): Promise<Outcome> {
  const bytes = await addressSpaceOf(pid);
  if (bytes === null) return { missed: 'the Python process had ended' };
  const from = worker.lines.length;
  const limit = (as: string) =>
    execa('prlimit', ['--pid', String(pid), `--as=${as}:`], { reject: false });
  const { failed, stderr } = await limit(String(bytes));
  if (failed) return { missed: stderr };
  const isFelt = () => worker.lines.slice(from).some(({ code }) => code === 'out_of_memory');
  await waitFor(isFelt, 3_000, signal);
  await sleep(200, undefined, { signal });
  await limit('unlimited'); // it may have ended
  return {};
}

/** It is found by the signs of life that it does not give; while it loads, by the time that this takes. */
async function expectEnd(pid: number, { worker, signal }: Stage, what: string): Promise<Outcome> {
  const seconds = worker.loaded === pid ? LIVENESS_TIMEOUT_S : LOAD_TIMEOUT_S;
  const ms = seconds * 1000 + RUNGS_MS;
  if (await waitFor(async () => !(await isAlive(pid)), ms, signal)) return {};
  send(pid, 'SIGKILL');
  return { unmet: `a Python process ${what} was still there after ${ms / 1000} s` };
}
