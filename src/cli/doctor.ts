import { type Checkup, examine } from '../doctor/doctor.ts';
import type { Finding } from '../doctor/finding.ts';
import { messageOf } from '../errors.ts';
import { interruptSignal, openSession, type SettingFlags } from './session.ts';
import { Terminal } from './terminal.ts';

const MARKS: Record<Finding['state'], string> = { ok: 'ok  ', note: 'note', fault: 'FAIL' };

/**
 * `lotus-worker doctor`: one page that says why it does not work here.
 *
 * @returns the exit code: 1 when a job would fail here.
 * @throws UsageError when a setting is wrong.
 */
export async function doctor(
  flags: SettingFlags & { json?: boolean },
  patience?: number,
): Promise<number> {
  const terminal = new Terminal();
  const { config, env } = await openSession(flags, terminal).catch((error) => {
    if (flags.json) terminal.result(JSON.stringify({ healthy: false, error: messageOf(error) }));
    throw error;
  });
  const { checkups, hangs } = await examine(config, env, { signal: interruptSignal(), patience });
  const faults = checkups.flatMap(({ findings }) => findings.filter(isFault));
  const healthy = faults.length === 0;
  terminal.result(flags.json ? JSON.stringify({ healthy, checkups }) : page(checkups));
  if (!flags.json) terminal.result(verdict(faults));
  // At its end Node waits for every file that it has asked for; also for one that never comes.
  if (hangs) process.kill(process.pid, 'SIGKILL');
  return healthy ? 0 : 1;
}

function isFault({ state }: Finding): boolean {
  return state === 'fault';
}

function page(checkups: readonly Checkup[]): string {
  const names = checkups.flatMap(({ findings }) => findings.map(({ name }) => name.length));
  const width = Math.max(...names);
  return checkups
    .map(
      ({ title, findings }) =>
        `${title}\n${findings.map((one) => lineOf(one, width)).join('\n')}\n`,
    )
    .join('\n');
}

function lineOf({ name, state, what, advice }: Finding, width: number): string {
  const indent = ' '.repeat(width + 10);
  const text = what.replaceAll('\n', `\n${indent}`);
  return `  ${MARKS[state]}  ${name.padEnd(width)}  ${text}${advice ? `\n${indent}-> ${advice}` : ''}`;
}

function verdict(faults: readonly Finding[]): string {
  if (faults.length === 0) return 'Nothing here would stop a job.';
  return `A job would fail here: ${faults.map(({ name }) => name).join(', ')}.`;
}
