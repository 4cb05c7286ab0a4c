import os from 'node:os';
import path from 'node:path';
import { type Mount, mountOf } from './mounts.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** The folder that everything but the app lies in, and what it lies on. */
export interface Workspace {
  readonly path: string;
  /** How it was found: the setting, a volume of RunPod's that is mounted, or the user's data folder. */
  readonly origin: 'setting' | 'volume' | 'home';
  /** What it lies on, where the system tells. */
  readonly mount: Mount | undefined;
  /** Why it must not be used, and what to do; null when all is well. */
  readonly fault: string | null;
}

/** Where RunPod mounts a network volume: on serverless workers, and on pods. */
const SERVERLESS_VOLUME = '/runpod-volume';
const POD_VOLUME = '/workspace';

/** The folder's name on a volume, which may hold other things too. */
const FOLDER = 'Lotus';

/** File systems that hold no files of anybody's; making folders there fails in odd ways. */
const NO_STORAGE: ReadonlySet<string> = new Set(
  ['proc', 'sysfs', 'devpts', 'cgroup', 'cgroup2', 'mqueue', 'securityfs', 'debugfs'], //
);

/** File systems in memory: what is there goes away with the container, as what is on its own disk. */
const IN_MEMORY: ReadonlySet<string> = new Set(['tmpfs', 'ramfs']);

/**
 * Find the workspace.
 *
 * A volume counts when it is really mounted, and is no memory: the folder of that name is in many images, and
 * RunPod's cached models are a mount below `/runpod-volume` also where there is no volume.
 *
 * @param allowEphemeral what LOTUS_ALLOW_EPHEMERAL says. Unset: not on RunPod, where the container's own disk
 *   is small and goes away, and elsewhere yes.
 */
export function findWorkspace(
  env: Environment,
  mounts: readonly Mount[],
  allowEphemeral?: boolean,
): Workspace {
  const found = locate(env, mounts);
  const mount = mountOf(found.path, mounts);
  const needsVolume = !(allowEphemeral ?? !isOnRunPod(env));
  return { ...found, mount, fault: faultOf(found, mount, needsVolume) };
}

function locate(
  env: Environment,
  mounts: readonly Mount[],
): { path: string; origin: Workspace['origin'] } {
  if (env.WORKSPACE) return { path: path.resolve(env.WORKSPACE), origin: 'setting' };
  const points = isServerless(env)
    ? [SERVERLESS_VOLUME, POD_VOLUME]
    : [POD_VOLUME, SERVERLESS_VOLUME];
  const volume = points.find((point) => mounts.some((one) => one.point === point && isKept(one)));
  if (volume !== undefined) return { path: path.join(volume, FOLDER), origin: 'volume' };
  // In the user's data folder, by the XDG Base Directory Specification; `bootstrap` has the same.
  const data = env.XDG_DATA_HOME || path.join(env.HOME || os.homedir(), '.local', 'share');
  return { path: path.resolve(data, 'lotus-worker'), origin: 'home' };
}

function faultOf(
  { path: dir, origin }: { path: string; origin: Workspace['origin'] },
  mount: Mount | undefined,
  needsVolume: boolean,
): string | null {
  if (mount && NO_STORAGE.has(mount.filesystem)) {
    return `WORKSPACE ${dir} is on ${mount.filesystem}, which holds no files. Set it to a folder on a disk.`;
  }
  const isOnVolume =
    origin !== 'home' && mount !== undefined && mount.point !== '/' && isKept(mount);
  if (!needsVolume || isOnVolume) return null;
  const isInMemory = mount !== undefined && mount.point !== '/' && !isKept(mount);
  const place = isInMemory ? `in memory (${mount.filesystem})` : 'on no volume';
  const where =
    origin === 'setting'
      ? `WORKSPACE ${dir} is ${place}`
      : `No volume is mounted at ${POD_VOLUME} or ${SERVERLESS_VOLUME}`;
  return (
    `${where}, and the container's own disk is small and goes away with it; this needs 7 GB for the packages` +
    ' and 5 GB for the model. Attach a network volume, or set WORKSPACE to a folder on one, or set' +
    ' LOTUS_ALLOW_EPHEMERAL=1 to do it all the same.'
  );
}

/** Whether what is there outlives the container. */
function isKept({ filesystem }: Mount): boolean {
  return !IN_MEMORY.has(filesystem);
}

/** RunPod sets these in every container of its; the first is a queue's, on serverless workers only. */
function isServerless(env: Environment): boolean {
  return Boolean(env.RUNPOD_WEBHOOK_GET_JOB || env.RUNPOD_ENDPOINT_ID);
}

function isOnRunPod(env: Environment): boolean {
  return Boolean(env.RUNPOD_POD_ID) || isServerless(env);
}
