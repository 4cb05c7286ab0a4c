import { existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { SAMPLE_ROOT } from './app.ts';
import { UsageError } from './errors.ts';
import { DEFAULT_MODEL, RELEASED_MODELS, SUPPORTED_MODELS } from './models.ts';

/** Upstream's commit that everything here was measured against. */
export const UPSTREAM_COMMIT = 'b737e12238d2a41fc582ee8c6c6b1104d318d799';
const UPSTREAM_URL = 'https://github.com/EnVision-Research/Lotus.git';

const flag = z
  .enum(['1', 'true', 'yes', '0', 'false', 'no'])
  .transform((value) => ['1', 'true', 'yes'].includes(value));
const seconds = z.coerce.number().positive().max(86_400);

/**
 * Every setting, read from the environment variable of that name. An empty value counts as unset. The
 * table in `docs/settings.md` is made from this schema.
 */
export const settings = z.object({
  WORKSPACE: z.string().optional().meta({
    description:
      'The folder for everything that is not in the app. Default: `$XDG_DATA_HOME/lotus-worker`, or `~/.local/share/lotus-worker`',
  }),
  MODEL_ID: z
    .string()
    .default(DEFAULT_MODEL)
    .meta({ description: 'The model: its id on the hub, or the path of a checkpoint folder' }),
  MODEL_REVISION: z
    .string()
    .optional()
    .meta({ description: 'The branch, tag or commit of a hub model. Default: its main branch' }),
  LOTUS_MODEL_PREDICTION: z.enum(['disparity', 'depth']).optional().meta({
    description:
      'What a checkpoint folder predicts. Default: what the released model of that name does, else `disparity`',
  }),
  LOTUS_SAMPLE: flag.default(false).meta({
    description:
      'Model and upstream from `sample/`, whatever the others say: no GPU, no download. Default: no',
  }),
  LOTUS_UPSTREAM_DIR: z
    .string()
    .optional()
    .meta({ description: "A checkout of upstream's repository, used as it is" }),
  LOTUS_UPSTREAM_URL: z
    .string()
    .default(UPSTREAM_URL)
    .meta({ description: 'Where to fetch upstream from, when no checkout is given' }),
  LOTUS_UPSTREAM_COMMIT: z
    .string()
    .regex(/^[0-9a-f]{40}$/, 'must be a full commit hash of 40 hex digits')
    .default(UPSTREAM_COMMIT)
    .meta({ description: 'The commit to fetch; it is verified' }),
  LOTUS_DEVICE: z
    .enum(['auto', 'cuda', 'cpu'])
    .default('auto')
    .meta({ description: '`auto`: CUDA if there is any' }),
  LOTUS_DTYPE: z
    .enum(['auto', 'float16', 'float32'])
    .default('auto')
    .meta({ description: '`auto`: float16 on CUDA, float32 on the CPU' }),
  LOTUS_LOAD_TIMEOUT: seconds
    .default(1800)
    .meta({ description: 'Seconds that loading a model may take, its download included' }),
  LOTUS_JOB_TIMEOUT: seconds.default(600).meta({
    description:
      "Seconds that one image may take in the model. Default: RunPod's execution time-out",
  }),
  LOTUS_SCRATCH_DIR: z.string().optional().meta({
    description:
      'Where pixels pass between Node and Python. Default: `/dev/shm` if there is room, else the temporary folder',
  }),
  LOTUS_LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    .default('warn')
    .meta({ description: 'What is logged to standard error' }),
  LOTUS_PYTHON: z
    .string()
    .optional()
    .meta({ description: 'The Python 3.12 to make the venv with. Default: looked for' }),
  LOTUS_UV: z.string().optional().meta({
    description: 'The uv to install with. `bootstrap` sets it. Default: `uv` on the PATH',
  }),
  UV_CACHE_DIR: z
    .string()
    .optional()
    .meta({ description: "uv's cache. Default: `cache/uv` in the workspace" }),
  HF_HOME: z
    .string()
    .optional()
    .meta({ description: "The hub's own. Default: `cache` in the workspace" }),
  HF_HUB_CACHE: z
    .string()
    .optional()
    .meta({ description: "The hub's own. Default: `hub` in `HF_HOME`" }),
  HUGGINGFACE_HUB_CACHE: z
    .string()
    .optional()
    .meta({ description: "The hub's old name for `HF_HUB_CACHE`" }),
});

export type Settings = z.infer<typeof settings>;

/** The configuration: settings with what follows from them. Read once, frozen. */
export interface Config {
  readonly workspace: string;
  readonly model: {
    /** A hub id, or the absolute path of a checkpoint folder. */
    readonly id: string;
    /** What callers get to see: the hub id, or the folder's name. */
    readonly name: string;
    readonly revision: string | null;
    readonly prediction: 'disparity' | 'depth';
  };
  /** Upstream's checkout. */
  readonly upstreamDir: string;
  /** Where that checkout is to be fetched from; null when it is the operator's own. */
  readonly upstreamSource: { readonly url: string; readonly commit: string } | null;
  readonly device: Settings['LOTUS_DEVICE'];
  readonly dtype: Settings['LOTUS_DTYPE'];
  readonly loadTimeoutMs: number;
  readonly jobTimeoutMs: number;
  readonly scratchDir: string | undefined;
  readonly logLevel: Settings['LOTUS_LOG_LEVEL'];
  readonly python: string | undefined;
  readonly uv: string | undefined;
  readonly uvCache: string;
  readonly hfHome: string;
  readonly hubCache: string;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Read the configuration.
 *
 * @throws UsageError naming every setting that is wrong, with its value.
 */
export function readConfig(env: Environment): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const parsed = settings.safeParse(given);
  if (!parsed.success) throw new UsageError(describeIssues(parsed.error, given));
  const set = parsed.data;
  const workspace = path.resolve(set.WORKSPACE ?? defaultWorkspace(env));
  const hfHome = path.resolve(set.HF_HOME ?? path.join(workspace, 'cache'));
  const hubCache = set.HF_HUB_CACHE ?? set.HUGGINGFACE_HUB_CACHE ?? path.join(hfHome, 'hub');
  return deepFreeze({
    workspace,
    model: readModel(set),
    ...readUpstream(set, workspace),
    device: set.LOTUS_DEVICE,
    dtype: set.LOTUS_DTYPE,
    loadTimeoutMs: set.LOTUS_LOAD_TIMEOUT * 1000,
    jobTimeoutMs: set.LOTUS_JOB_TIMEOUT * 1000,
    scratchDir:
      set.LOTUS_SCRATCH_DIR === undefined ? undefined : path.resolve(set.LOTUS_SCRATCH_DIR),
    logLevel: set.LOTUS_LOG_LEVEL,
    python: set.LOTUS_PYTHON,
    uv: set.LOTUS_UV,
    uvCache: path.resolve(set.UV_CACHE_DIR ?? path.join(workspace, 'cache', 'uv')),
    hfHome,
    hubCache: path.resolve(hubCache),
  });
}

function readModel(set: Settings): Config['model'] {
  if (set.LOTUS_SAMPLE) {
    const id = path.join(SAMPLE_ROOT, 'checkpoint');
    return { id, name: 'sample', revision: null, prediction: 'disparity' };
  }
  // A folder that is there is meant, though `models/lotus` could be on the hub too.
  const isFolder = existsSync(path.join(set.MODEL_ID, 'model_index.json'));
  const id = isFolder || isPath(set.MODEL_ID) ? path.resolve(set.MODEL_ID) : set.MODEL_ID;
  const name = path.isAbsolute(id) ? path.basename(id) : id;
  const released = RELEASED_MODELS[id] ?? releasedAs(name);
  if (released && (released.kind === 'G' || released.prediction === 'normals')) {
    throw new UsageError(
      `MODEL_ID ${set.MODEL_ID}: this version runs ${SUPPORTED_MODELS.join(' and ')}, and checkpoint` +
        ' folders of the same kind',
    );
  }
  const known = released?.prediction === 'depth' ? 'depth' : 'disparity';
  const prediction = set.LOTUS_MODEL_PREDICTION ?? known;
  return { id, name, revision: set.MODEL_REVISION ?? null, prediction };
}

/** A hub id is `organisation/name`; `./name`, `../name` and anything absolute is a path. */
function isPath(id: string): boolean {
  return path.isAbsolute(id) || /^\.{1,2}([/\\]|$)/.test(id);
}

/** The released model whose name, without its organisation, a checkpoint folder has. */
function releasedAs(name: string) {
  return Object.entries(RELEASED_MODELS).find(([id]) => path.basename(id) === name)?.[1];
}

function readUpstream(
  set: Settings,
  workspace: string,
): Pick<Config, 'upstreamDir' | 'upstreamSource'> {
  const own = set.LOTUS_SAMPLE ? path.join(SAMPLE_ROOT, 'upstream') : set.LOTUS_UPSTREAM_DIR;
  if (own !== undefined) return { upstreamDir: path.resolve(own), upstreamSource: null };
  const { LOTUS_UPSTREAM_URL: url, LOTUS_UPSTREAM_COMMIT: commit } = set;
  return {
    upstreamDir: path.join(workspace, 'upstream', commit),
    upstreamSource: { url, commit },
  };
}

/** In the user's data folder, by the XDG Base Directory Specification; `bootstrap` has the same. */
function defaultWorkspace(env: Environment): string {
  const data = env.XDG_DATA_HOME || path.join(env.HOME || os.homedir(), '.local', 'share');
  return path.join(data, 'lotus-worker');
}

function describeIssues(error: z.ZodError, given: Record<string, unknown>): string {
  return error.issues
    .map((issue) => {
      const name = String(issue.path[0]);
      return `${name}=${JSON.stringify(given[name])}: ${issue.message}`;
    })
    .join('\n');
}

function deepFreeze<T extends object>(value: T): T {
  for (const inner of Object.values(value)) {
    if (typeof inner === 'object' && inner !== null) deepFreeze(inner);
  }
  return Object.freeze(value);
}
