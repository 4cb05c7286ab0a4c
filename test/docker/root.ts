import { mkdir, mkdtemp } from 'node:fs/promises';
import path from 'node:path';
import { execa, execaSync } from 'execa';
import { readConfig } from '../../src/config.ts';

/** Something of the host's that is to be seen at another path, too. */
export interface Bind {
  source: string;
  target: string;
  readonly?: boolean;
}

/** A disk of its own, of which nothing is left afterwards. */
export interface Tmpfs {
  target: string;
  sizeMb: number;
}

export interface RootOptions {
  /** In this order: a later one may lie in an earlier one. */
  binds?: readonly Bind[];
  tmpfs?: readonly Tmpfs[];
  /** The whole environment. */
  env?: Readonly<Record<string, string>>;
  cwd?: string;
  /** A bound against hanging; what has not ended by then is killed. */
  timeoutMs?: number;
}

/**
 * Folders that a test decides about: `/opt` for the app, and where RunPod mounts volumes. They are there and
 * empty, whatever the host has in them, and no mounts, as in a fresh container. `/mnt` is where the root is put
 * together.
 */
const OURS = ['/opt', '/workspace', '/runpod-volume', '/mnt'];

/**
 * Puts a root together and changes to it. Its arguments: triples of kind, source or size, and target; `--`; a
 * folder; the command. What is mounted is seen by this process and its children alone, and goes with the last
 * of them. It ends by `exec`, so that signals and the exit code are the command's own.
 */
const SETUP = `
root=/mnt
ours=' ${OURS.join(' ')} '
mount -t tmpfs -o mode=755 tmpfs $root
for dir in $ours; do mkdir $root$dir; done
for dir in /*; do
  case $ours in *" $dir "*) continue ;; esac
  if [ -L "$dir" ]; then cp -P "$dir" $root/
  elif [ -d "$dir" ]; then mkdir "$root$dir"; mount --rbind "$dir" "$root$dir"
  fi
done

# A mount needs something to be mounted on. It is made in this root only, never through it on the host.
mount_point() { # <-d|-f> <path>
  [ -e "$2" ] && return
  parent=$2
  until [ -e "$parent" ]; do parent=$(dirname "$parent"); done
  if [ "$(stat -c %d "$parent")" != "$(stat -c %d $root)" ]; then
    echo "cannot mount at \${2#$root}: it is not there, and would have to be made on the host" >&2
    exit 125
  fi
  case $1 in
    -d) mkdir -p "$2" ;;
    -f) mkdir -p "$(dirname "$2")"; : >"$2" ;;
  esac
}

while [ "$1" != -- ]; do
  case $1 in
    tmpfs)
      mount_point -d "$root$3"
      mount -t tmpfs -o "mode=755,size=$2m" tmpfs "$root$3"
      ;;
    *)
      if [ -d "$2" ]; then mount_point -d "$root$3"; else mount_point -f "$root$3"; fi
      mount --bind "$2" "$root$3"
      [ "$1" = rw ] || mount -o remount,bind,ro "$root$3"
      ;;
  esac
  shift 3
done
shift
exec chroot $root env -i --chdir "$@"
`;

/** Where the programs of SETUP are. */
const TOOLS = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

/** Who is not root becomes it in a user namespace, with no other users in it. */
const UNSHARE = ['--mount', ...(process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'])];

/**
 * Run a command in a root of its own: the host's folders, but for {@link OURS}, and what the options mount. The
 * host's folders are the real ones; what the command writes there, it writes there.
 *
 * @returns execa's, with `reject: false`.
 */
export function inRoot(command: readonly [string, ...string[]], options: RootOptions = {}) {
  const { binds = [], tmpfs = [], env = {}, cwd = '/', timeoutMs = 120_000 } = options;
  const mounts = [
    ...binds.flatMap((bind) => [bind.readonly ? 'ro' : 'rw', bind.source, bind.target]),
    ...tmpfs.flatMap((disk) => ['tmpfs', `${disk.sizeMb}`, disk.target]),
  ];
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const setup = ['sh', '-euc', SETUP, 'sh', ...mounts, '--', cwd, ...variables, ...command];
  return execa('unshare', [...UNSHARE, ...setup], {
    env: TOOLS,
    extendEnv: false,
    reject: false,
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
}

/** A folder that can be mounted as a volume: the temporary folder may be in memory, which is none. */
export async function makeDiskFolder(prefix: string): Promise<string> {
  const parent = path.dirname(readConfig(process.env).workspace);
  await mkdir(parent, { recursive: true });
  return await mkdtemp(path.join(parent, prefix));
}

/** Why nothing can be run in a root of its own here, a container without the right to mount say; else null. */
export function whyNoRoot(): string | null {
  const mount = [...UNSHARE, 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'];
  const { failed, stderr, shortMessage } = execaSync('unshare', mount, { reject: false });
  return failed ? `cannot mount here: ${stderr || shortMessage}` : null;
}

/** Why a test that needs several users cannot run here; else null. */
export function whyNoUsers(): string | null {
  return whyNoRoot() ?? (process.getuid?.() === 0 ? null : 'only root can become another user');
}
