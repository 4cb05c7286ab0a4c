import { strikeNode } from './node-faults.ts';
import { strikePlatform } from './platform-faults.ts';
import { strikePython } from './python-faults.ts';
import type { Fault } from './schedule.ts';
import type { Outcome, Stage, Strike } from './stage.ts';

/** Strikes once. It returns when the fault is over, and what was killed is there again. */
export async function strike(fault: Fault, stage: Stage): Promise<Strike> {
  const t = stage.platform.now();
  const outcome = await act(fault, stage);
  return { fault, t, until: stage.platform.now(), ...outcome };
}

async function act(fault: Fault, stage: Stage): Promise<Outcome> {
  switch (fault.on) {
    case 'python':
      return await strikePython(fault, stage);
    case 'node':
      return await strikeNode(fault, stage);
    case 'platform':
      return await strikePlatform(fault, stage);
  }
}
