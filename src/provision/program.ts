import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { cancelled } from '../errors.ts';
import { withoutSecrets } from '../secrets.ts';
import { SECRETS } from '../settings.ts';
import { tethered } from './tether.ts';

interface ProgramOptions {
  cwd?: string;
  /** Beside our own environment, from which it gets all but the secrets. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Whether it gets `env` alone. */
  onlyThisEnv?: boolean;
  /** Milliseconds; unset: as long as it takes. */
  timeout?: number;
  /** Show its standard error as it comes, on a terminal, where it draws its progress. */
  showProgress?: boolean;
  /** Gets the lines of its standard error as they come. */
  onLine?: (line: string) => void;
  /** Whether it is killed when this process dies, whatever kills that. It must be known to be there. */
  endsWithUs?: boolean;
  signal?: AbortSignal | undefined;
}

/** How a program ended. What people get to see of it is without secrets; its standard output is data. */
export interface Ended {
  readonly failed: boolean;
  readonly stdout: string;
  readonly stderr: string;
  /** The system's word for why it was not started: ENOENT, EACCES. */
  readonly code: string | undefined;
  /** What happened, in a few words; empty when all went well. */
  readonly shortMessage: string;
}

const NO_SECRETS = Object.fromEntries(SECRETS.map((name) => [name, undefined]));

/** How long one that is to end may take until it is killed, in milliseconds. */
const KILLED_AFTER_MS = 2_000;
/** And until nobody waits for it any more: in a driver's call, or on a dead volume, it cannot even be killed. */
const LEFT_AFTER_MS = 4_000;

/**
 * Run a program to its end, without input. How it ended is in the result; only being interrupted is thrown.
 *
 * @throws LotusError `cancelled`.
 */
export async function runProgram(
  file: string,
  args: readonly string[],
  {
    signal,
    timeout,
    showProgress = false,
    onLine,
    env,
    onlyThisEnv,
    endsWithUs,
    ...options
  }: ProgramOptions = {},
): Promise<Ended> {
  const [program, all] = endsWithUs ? await tethered(file, args) : [file, args];
  const limit = new AbortController();
  const clock = timeout === undefined ? undefined : setTimeout(() => limit.abort(), timeout);
  const toEnd = signal ? AbortSignal.any([signal, limit.signal]) : limit.signal;
  const child = execa(program, all, {
    ...options,
    env: onlyThisEnv ? { ...env } : { ...NO_SECRETS, ...env },
    extendEnv: !onlyThisEnv,
    reject: false,
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: showProgress && process.stderr.isTTY ? ['pipe', 'inherit'] : tapped(onLine),
    cancelSignal: toEnd,
    forceKillAfterDelay: KILLED_AFTER_MS,
  });
  const result = await endOf(child, toEnd);
  clearTimeout(clock);
  if (signal?.aborted && (result === null || result.isCanceled)) throw cancelled();
  if (result === null || result.isCanceled) return overdue(file, timeout ?? 0);
  return {
    failed: result.failed,
    stdout: String(result.stdout),
    stderr: withoutSecrets(String(result.stderr)),
    code: result.code,
    shortMessage: withoutSecrets(result.shortMessage ?? ''),
  };
}

/** A stream that is kept, and of which somebody gets the lines as they come. */
function tapped(onLine: ProgramOptions['onLine']) {
  const tap = function* (line: unknown) {
    onLine?.(withoutSecrets(String(line)));
    yield line;
  };
  return onLine ? [tap, 'pipe' as const] : ['pipe' as const];
}

function overdue(file: string, timeout: number): Ended {
  const shortMessage = `${path.basename(file)} did not end within ${timeout / 1000} s`;
  return { failed: true, stdout: '', stderr: '', code: 'ETIMEDOUT', shortMessage };
}

/** What an execa process is, as far as its end goes. */
interface Child<Result> extends PromiseLike<Result> {
  readonly nodeChildProcess: ChildProcess;
}

/** How a process ended; null when it has not, although it was told to. */
async function endOf<Result>(child: Child<Result>, toEnd: AbortSignal): Promise<Result | null> {
  const over = new AbortController();
  const left = new Promise<null>((resolve) => {
    const leave = () => sleep(LEFT_AFTER_MS, null, { signal: over.signal }).then(resolve, () => {}); // it has ended
    if (toEnd.aborted) void leave();
    else toEnd.addEventListener('abort', leave, { once: true, signal: over.signal });
  });
  const result = await Promise.race([child, left]);
  over.abort();
  if (result === null) {
    const { nodeChildProcess } = child;
    nodeChildProcess.unref();
    for (const stream of nodeChildProcess.stdio) stream?.destroy();
  }
  return result;
}
