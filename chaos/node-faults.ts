import { setTimeout as sleep } from 'node:timers/promises';
import { send } from './processes.ts';
import type { NodeFault } from './schedule.ts';
import { START_MS } from './set-up.ts';
import { type Outcome, type Stage, waitFor } from './stage.ts';

/** How long a moment is waited for; then it strikes all the same. */
const MOMENT_MS = 15_000;

/** The grace that jobs have (`LOTUS_SHUTDOWN_GRACE`, 30 s by default), what they have to return, and some. */
const END_MS = 60_000;

export async function strikeNode(fault: NodeFault, stage: Stage): Promise<Outcome> {
  const { worker, script, random, signal } = stage;
  const { pid, workerId } = worker.life;
  try {
    await reach(fault, stage);
    if (fault.what === 'freeze') return { pid, ...(await freeze(fault.ms, stage)) };
    const isInTime = fault.what === 'kill' ? await worker.kill() : await worker.terminate(END_MS);
    if (fault.moment === 'owing' && random.chance(50)) script.end(); // or it comes back to the same
    await sleep(fault.ms, undefined, { signal });
    worker.start(fault.next === 'same' ? workerId : anotherThan(workerId));
    if (!isInTime) return { pid, unmet: `was still there ${END_MS / 1000} s after SIGTERM` };
  } finally {
    script.end();
  }
  if (await waitFor(() => worker.isUp, START_MS, signal)) return { pid };
  return { pid, unmet: `did not take jobs ${START_MS / 1000} s after its start` };
}

async function reach({ moment }: NodeFault, stage: Stage): Promise<void> {
  const { worker, platform, script, random, signal } = stage;
  switch (moment) {
    case 'any':
      return;
    case 'running':
      await waitFor(() => worker.running.size > 0, MOMENT_MS, signal);
      return;
    case 'owing':
      script.begin('errors', 'posts');
      await waitFor(() => worker.owing.size > 0, MOMENT_MS, signal);
      await sleep(random.int(0, 800), undefined, { signal });
      return;
    case 'unacknowledged': {
      script.begin('lose', 'posts');
      const from = platform.acceptances.length;
      await waitFor(() => platform.acceptances.length > from, MOMENT_MS, signal);
    }
  }
}

async function freeze(ms: number, { worker, signal }: Stage): Promise<Outcome> {
  const python = await worker.python();
  const all = [worker.life.pid, ...(python === null ? [] : [python])];
  for (const pid of all) send(pid, 'SIGSTOP');
  try {
    await sleep(ms, undefined, { signal });
  } finally {
    for (const pid of all) send(pid, 'SIGCONT');
  }
  return {};
}

function anotherThan(workerId: string): string {
  return `worker${Number(/\d+$/.exec(workerId)?.[0] ?? 0) + 1}`;
}
