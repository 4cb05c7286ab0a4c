import { existsSync } from 'node:fs';
import path from 'node:path';
import type { z } from 'zod';
import { SAMPLE_ROOT } from './app.ts';
import { UsageError, withoutCredentials } from './errors.ts';
import { type Prediction, RELEASED_MODELS } from './models.ts';
import { type Mount, readMounts } from './mounts.ts';
import { parseAllowList } from './net/allow.ts';
import type { FetchPolicy } from './net/fetch.ts';
import { Secret } from './secret.ts';
import { isSecret, type PROFILES, type Settings, settings } from './settings.ts';
import type { RetentionLimits } from './storage/retention.ts';
import { type Bucket, readEndpoint, regionOf } from './upload/bucket.ts';
import { findWorkspace, type Workspace } from './workspace.ts';

/** The configuration: settings with what follows from them. Read once, frozen. */
export interface Config {
  readonly workspace: string;
  /** How the workspace was found, and what it lies on. */
  readonly location: Workspace;
  /** The packages that were asked for by name. */
  readonly profile: (typeof PROFILES)[number] | undefined;
  /** What every job must bring; null: nobody gets in. */
  readonly apiKey: Secret | null;
  /** Null: by the number of GPUs. */
  readonly concurrency: number | null;
  readonly shutdownGraceMs: number;
  /** Bytes of JSON that an answer may have, by how the job came. */
  readonly answerLimits: { readonly run: number; readonly runsync: number };
  /** How long what was made is kept, and how much of it. */
  readonly outputs: RetentionLimits;
  /** `auto`, `off`, or where the wheel is. */
  readonly flashAttn: string;
  readonly model: {
    /** A hub id, or the absolute path of a checkpoint folder. */
    readonly id: string;
    /** What callers get to see: the hub id, or the folder's name. */
    readonly name: string;
    readonly revision: string | null;
    readonly prediction: Prediction;
  };
  /** Upstream's checkout. */
  readonly upstreamDir: string;
  /** Where that checkout is to be fetched from; null when it is the operator's own. */
  readonly upstreamSource: { readonly url: string; readonly commit: string } | null;
  readonly device: Settings['LOTUS_DEVICE'];
  readonly dtype: Settings['LOTUS_DTYPE'];
  readonly loadTimeoutMs: number;
  readonly jobTimeoutMs: number;
  /** When a model process is taken for dead, for too large, and for hopeless. */
  readonly supervision: {
    readonly livenessMs: number;
    readonly crashes: { readonly max: number; readonly windowMs: number };
    readonly maxGrowth: number;
  };
  /** What an `image_url` may name. */
  readonly fetch: FetchPolicy;
  /** Where files go that are not in an answer; null: nowhere. And how long each upload may take. */
  readonly uploads: { readonly bucket: Bucket | null; readonly timeoutMs: number };
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
 * @param mounts what is mounted where; for tests.
 * @throws UsageError naming every setting that is wrong, with its value.
 */
export function readConfig(env: Environment, mounts: readonly Mount[] = readMounts()): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const parsed = settings.safeParse(given);
  if (!parsed.success) throw new UsageError(describeIssues(parsed.error, given));
  const set = parsed.data;
  const location = findWorkspace(env, mounts, set.LOTUS_ALLOW_EPHEMERAL);
  const workspace = location.path;
  const hfHome = path.resolve(set.HF_HOME ?? path.join(workspace, 'cache'));
  const hubCache = set.HF_HUB_CACHE ?? set.HUGGINGFACE_HUB_CACHE ?? path.join(hfHome, 'hub');
  return deepFreeze({
    workspace,
    location,
    profile: set.LOTUS_PROFILE,
    apiKey: readKey(set.LOTUS_API_KEY),
    concurrency: set.LOTUS_CONCURRENCY ?? null,
    shutdownGraceMs: set.LOTUS_SHUTDOWN_GRACE * 1000,
    answerLimits: { run: set.LOTUS_RUN_LIMIT, runsync: set.LOTUS_RUNSYNC_LIMIT },
    outputs: {
      maxAgeMs: set.LOTUS_OUTPUT_MAX_AGE === undefined ? null : set.LOTUS_OUTPUT_MAX_AGE * 1000,
      maxBytes: set.LOTUS_OUTPUT_MAX_BYTES ?? null,
    },
    flashAttn: set.LOTUS_FLASH_ATTN,
    model: readModel(set),
    ...readUpstream(set, workspace),
    device: set.LOTUS_DEVICE,
    dtype: set.LOTUS_DTYPE,
    loadTimeoutMs: set.LOTUS_LOAD_TIMEOUT * 1000,
    jobTimeoutMs: set.LOTUS_JOB_TIMEOUT * 1000,
    supervision: {
      livenessMs: set.LOTUS_LIVENESS_TIMEOUT * 1000,
      crashes: { max: set.LOTUS_MAX_CRASHES, windowMs: set.LOTUS_CRASH_WINDOW * 1000 },
      maxGrowth: set.LOTUS_MEMORY_GROWTH,
    },
    fetch: {
      allow: set.LOTUS_FETCH_ALLOW,
      maxBytes: set.LOTUS_FETCH_MAX_BYTES,
      timeoutMs: set.LOTUS_FETCH_TIMEOUT * 1000,
    },
    uploads: { bucket: readBucket(set), timeoutMs: set.LOTUS_UPLOAD_TIMEOUT * 1000 },
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

/** Secrets that are mounted as files often end in a line break, which no header can carry. */
function readKey(text = ''): Secret | null {
  const key = text.trim();
  return key === '' ? null : new Secret(key);
}

const BUCKET_SETTINGS = [
  'BUCKET_ENDPOINT_URL',
  'BUCKET_ACCESS_KEY_ID',
  'BUCKET_SECRET_ACCESS_KEY',
] as const;

/** The operator's own bucket: its storage may be anywhere. */
function readBucket(set: Settings): Bucket | null {
  const missing = BUCKET_SETTINGS.filter((name) => (set[name] ?? '').trim() === '');
  if (missing.length === BUCKET_SETTINGS.length) return null;
  const accessKeyId = readKey(set.BUCKET_ACCESS_KEY_ID);
  const secretAccessKey = readKey(set.BUCKET_SECRET_ACCESS_KEY);
  if (missing.length > 0 || accessKeyId === null || secretAccessKey === null) {
    throw new UsageError(
      `${missing.join(' and ')} not set: a bucket needs ${BUCKET_SETTINGS.join(', ')}; set them, or none of them`,
    );
  }
  const { url, endpoint, allow } = readBucketEndpoint(set.BUCKET_ENDPOINT_URL ?? '');
  const region = set.BUCKET_REGION ?? regionOf(url.hostname);
  const name = set.BUCKET_NAME ?? null;
  return { endpoint, name, region, accessKeyId, secretAccessKey, allow };
}

function readBucketEndpoint(text: string) {
  const refuse = (problem: string) =>
    new UsageError(`BUCKET_ENDPOINT_URL=${JSON.stringify(withoutCredentials(text))}: ${problem}`);
  const url = URL.parse(text.trim());
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw refuse('is no URL of a storage, like https://s3.eu-west-1.amazonaws.com');
  }
  if (url.username !== '' || url.password !== '') {
    throw refuse('has a user name or password in it: the keys have settings of their own');
  }
  const read = readEndpoint(url);
  const host = parseAllowList(url.hostname.replace(/^\[(.*)\]$/, '$1'));
  if ('problem' in read) throw refuse(read.problem);
  if ('wrong' in host) throw refuse('has no valid host name');
  return { url, endpoint: read.endpoint, allow: host.list };
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
  const said = set.LOTUS_MODEL_PREDICTION;
  const onHub = RELEASED_MODELS[id];
  if (said !== undefined && onHub !== undefined && said !== onHub.prediction) {
    throw new UsageError(
      `LOTUS_MODEL_PREDICTION=${said}: ${id} predicts ${onHub.prediction}. Leave it out; it is for checkpoint folders`,
    );
  }
  const prediction = said ?? released?.prediction ?? 'disparity';
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

function describeIssues(error: z.ZodError, given: Record<string, unknown>): string {
  return error.issues
    .map((issue) => {
      const name = String(issue.path[0]);
      const value = isSecret(name) ? '(hidden)' : JSON.stringify(given[name]);
      return `${name}=${value}: ${issue.message}`;
    })
    .join('\n');
}

function deepFreeze<T extends object>(value: T): T {
  for (const inner of Object.values(value)) {
    if (typeof inner === 'object' && inner !== null) deepFreeze(inner);
  }
  return Object.freeze(value);
}
