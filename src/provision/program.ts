import { execa } from 'execa';
import { cancelled } from '../errors.ts';

interface ProgramOptions {
  cwd?: string;
  env?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds; unset: as long as it takes. */
  timeout?: number;
  /** Show its standard error as it comes, on a terminal. */
  showProgress?: boolean;
  signal?: AbortSignal | undefined;
}

/**
 * Run a program to its end, without input. How it ended is in the result; only being interrupted is thrown.
 *
 * @throws LotusError `cancelled`.
 */
export async function runProgram(
  file: string,
  args: readonly string[],
  { signal, showProgress = false, ...options }: ProgramOptions = {},
) {
  const result = await execa(file, args, {
    ...options,
    reject: false,
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: showProgress && process.stderr.isTTY ? ['pipe', 'inherit'] : 'pipe',
    ...(signal && { cancelSignal: signal }),
  });
  if (result.isCanceled) throw cancelled();
  return result;
}
