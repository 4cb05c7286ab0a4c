import { readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';

/** One line of /proc/self/mountinfo, see proc(5). */
export interface Mount {
  readonly point: string;
  readonly filesystem: string;
  readonly readOnly: boolean;
}

/** What is mounted, in the order of mounting; nothing where there is no /proc. */
export function readMounts(): Mount[] {
  try {
    return parseMounts(readFileSync('/proc/self/mountinfo', 'utf8'));
  } catch {
    return []; // not Linux
  }
}

export function parseMounts(mountinfo: string): Mount[] {
  return mountinfo
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const [, , , , point = '', options = ''] = before.split(' ');
      const [filesystem = '', , superOptions = ''] = after.split(' ');
      const flags = [...options.split(','), ...superOptions.split(',')];
      return { point: plain(point), filesystem, readOnly: flags.includes('ro') };
    });
}

/**
 * The mount that a path lies on: that of its deepest ancestor that exists, links followed. They are listed in
 * their order, and a later one hides what is below it.
 */
export function mountOf(file: string, mounts: readonly Mount[]): Mount | undefined {
  const real = realAncestor(path.resolve(file));
  return mounts.findLast(({ point }) => isWithin(real, point));
}

function isWithin(file: string, dir: string): boolean {
  return file === dir || file.startsWith(dir.endsWith('/') ? dir : `${dir}/`);
}

function realAncestor(file: string): string {
  try {
    return realpathSync(file);
  } catch {
    const parent = path.dirname(file);
    return parent === file ? file : realAncestor(parent);
  }
}

/** The kernel writes a space, a tab, a line break and a backslash as three octal digits. */
function plain(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_all, octal) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
