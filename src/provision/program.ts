import { execa } from 'execa';
import { SECRETS } from '../config.ts';
import { cancelled } from '../errors.ts';
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

const NO_SECRETS = Object.fromEntries(SECRETS.map((name) => [name, undefined]));

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
    showProgress = false,
    onLine,
    env,
    onlyThisEnv,
    endsWithUs,
    ...options
  }: ProgramOptions = {},
) {
  const tap = function* (line: unknown) {
    onLine?.(String(line));
    yield line;
  };
  const stderr = onLine ? [tap, 'pipe' as const] : ['pipe' as const];
  const [program, all] = endsWithUs ? await tethered(file, args) : [file, args];
  const result = await execa(program, all, {
    ...options,
    env: onlyThisEnv ? { ...env } : { ...NO_SECRETS, ...env },
    extendEnv: !onlyThisEnv,
    reject: false,
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: showProgress && process.stderr.isTTY ? ['pipe', 'inherit'] : stderr,
    ...(signal && { cancelSignal: signal }),
  });
  if (result.isCanceled) throw cancelled();
  return { ...result, stdout: String(result.stdout), stderr: String(result.stderr) };
}
