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

/** Those that can be reached: a mount hides what was mounted below its point before. */
export function parseMounts(mountinfo: string): Mount[] {
  const all = mountinfo.split('\n').filter(Boolean).map(parseLine);
  return all.filter((one) => reached(one.mount.point, all) === one).map(({ mount }) => mount);
}

interface Line {
  id: string;
  /** The mount that its point is on. */
  parent: string;
  mount: Mount;
}

function parseLine(line: string): Line {
  const [before = '', after = ''] = line.split(' - ');
  const [id = '', parent = '', , , point = '', options = ''] = before.split(' ');
  const [filesystem = '', , superOptions = ''] = after.split(' ');
  const flags = [...options.split(','), ...superOptions.split(',')];
  return { id, parent, mount: { point: plain(point), filesystem, readOnly: flags.includes('ro') } };
}

/** Where a path leads, as the kernel walks it: from the root, at each mount's point on into that mount. */
function reached(file: string, all: readonly Line[]): Line | undefined {
  const ids = new Set(all.map(({ id }) => id));
  // The root's own parent is out of sight; where one is shown alone, as in a test, it is a root too.
  let current = nearest(
    file,
    all.filter(({ parent }) => !ids.has(parent)),
  );
  while (current !== undefined) {
    const { id } = current;
    const next = nearest(
      file,
      all.filter((one) => one.parent === id && one.id !== id),
    );
    if (next === undefined) return current;
    current = next;
  }
  return undefined;
}

/** The first of several mounts that is met on the way to a path. */
function nearest(file: string, lines: readonly Line[]): Line | undefined {
  const around = lines.filter(({ mount }) => isWithin(file, mount.point));
  return around.sort((a, b) => a.mount.point.length - b.mount.point.length)[0];
}

/** The mount that a path lies on: that of its deepest ancestor that exists, links followed. */
export function mountOf(file: string, mounts: readonly Mount[]): Mount | undefined {
  const real = realAncestor(path.resolve(file));
  let deepest: Mount | undefined;
  for (const mount of mounts) {
    const isDeeper = mount.point.length >= (deepest?.point.length ?? 0);
    if (isDeeper && isWithin(real, mount.point)) deepest = mount;
  }
  return deepest;
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
