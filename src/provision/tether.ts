import { execa } from 'execa';

/** util-linux's program that changes what a process is and then runs another in its place. */
const TETHER = ['/usr/bin/setpriv', '--pdeathsig', 'KILL'] as const;

let available: Promise<boolean> | undefined;

/**
 * The command that runs a program so that the kernel kills it when this process dies, however that is. Without it
 * the program of one that was killed goes on for a while, beside the next run: harmless, since what it writes was
 * built aside, and a waste. Where there is no setpriv, or one that cannot, it is the program itself.
 */
export async function tethered(
  file: string,
  args: readonly string[],
): Promise<[file: string, args: readonly string[]]> {
  const [program, ...options] = TETHER;
  available ??= execa(program, [...options, 'true'], { reject: false }).then(
    ({ failed }) => !failed,
  );
  return (await available) ? [program, [...options, file, ...args]] : [file, args];
}
