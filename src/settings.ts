import { z } from 'zod';
import { DEFAULT_MODEL } from './models.ts';
import { parseAllowList } from './net/allow.ts';
import { PREDICTIONS } from './worker/protocol.ts';

/** Upstream's commit that everything here was measured against. */
export const UPSTREAM_COMMIT = 'b737e12238d2a41fc582ee8c6c6b1104d318d799';
const UPSTREAM_URL = 'https://github.com/EnVision-Research/Lotus.git';

/** The sets of Python packages that a person may ask for: `python/requirements/<profile>.lock`. */
export const PROFILES = ['runtime', 'full', 'cpu'] as const;
/** dev has the tests' tools too. */
export type Profile = (typeof PROFILES)[number] | 'dev';

const flag = z
  .enum(['1', 'true', 'yes', '0', 'false', 'no'])
  .transform((value) => ['1', 'true', 'yes'].includes(value));
/** An image is held in memory as a whole, several at a time. */
const FETCH_BYTES_BOUND = 2 ** 30;
/** So that there is room for an answer without its picture. */
const bytes = z.coerce.number().int().min(4096);
const seconds = z.coerce.number().positive().max(86_400);

/**
 * Every setting, read from the environment variable of that name. An empty value counts as unset. The
 * table in `docs/settings.md` is made from this schema.
 */
export const settings = z.object({
  WORKSPACE: z.string().optional().meta({
    description:
      'The folder for everything that is not in the app. Default: `Lotus` on the volume that is mounted at `/workspace` or `/runpod-volume`, else `$XDG_DATA_HOME/lotus-worker`, or `~/.local/share/lotus-worker`',
  }),
  LOTUS_ALLOW_EPHEMERAL: flag.optional().meta({
    description:
      "Accept a workspace that is on no volume. Default: on RunPod no (in the project's image neither), elsewhere yes",
  }),
  MODEL_ID: z
    .string()
    .default(DEFAULT_MODEL)
    .meta({ description: 'The model: its id on the hub, or the path of a checkpoint folder' }),
  MODEL_REVISION: z
    .string()
    .optional()
    .meta({ description: 'The branch, tag or commit of a hub model. Default: its main branch' }),
  LOTUS_MODEL_PREDICTION: z.enum(PREDICTIONS).optional().meta({
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
  LOTUS_PROFILE: z.enum(PROFILES).optional().meta({
    description:
      "Which Python packages: `runtime` is what the model needs, `full` upstream's own scripts too, `cpu` has no CUDA. Default: what is installed, else `runtime`",
  }),
  LOTUS_API_KEY: z.string().optional().meta({
    description:
      'What every job must bring, as `api_key` or in the header `lotus-api-key`. Unset: every job is answered with Unauthorized, and `serve --http` does not start',
  }),
  LOTUS_CONCURRENCY: z.coerce.number().int().min(1).max(64).optional().meta({
    description:
      'Jobs that are worked on at the same time: one in the model, while the one after it is fetched and decoded and the one before it is encoded. Default: 3, one more for each further GPU, and one more with a bucket',
  }),
  LOTUS_SHUTDOWN_GRACE: z.coerce.number().min(0).max(3600).default(30).meta({
    description: 'Seconds that jobs have to finish after SIGTERM',
  }),
  LOTUS_RUN_LIMIT: bytes.default(10_000_000).meta({
    description:
      "Bytes that an answer to /run may have; a larger one goes without its picture. Default: RunPod's limit",
  }),
  LOTUS_RUNSYNC_LIMIT: bytes.default(20_000_000).meta({
    description:
      "The same for /runsync, whose jobs' ids begin with `sync-`. Default: RunPod's limit",
  }),
  LOTUS_OUTPUT_MAX_AGE: z.coerce
    .number()
    .min(60)
    .max(10 * 31_536_000)
    .optional()
    .meta({
      description:
        'Seconds after which a file in `output_images` is removed, while jobs are served. Default: never',
    }),
  LOTUS_OUTPUT_MAX_BYTES: z.coerce.number().int().min(1_000_000).optional().meta({
    description:
      'Bytes that the files in `output_images` may have together: beyond that the oldest are removed, while jobs are served. Default: no limit',
  }),
  LOTUS_FLASH_ATTN: z.string().default('auto').meta({
    description:
      '`auto`: flash-attn from its release page, where there is an NVIDIA GPU. `off`: never. Else the URL or the path of its wheel',
  }),
  LOTUS_RUN_AS_ROOT: flag.default(false).meta({
    description:
      "Read by the image's entrypoint: stay root also where a user without rights could write the volume. Default: no",
  }),
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
    .meta({ description: 'Seconds that loading a model may take' }),
  LOTUS_JOB_TIMEOUT: seconds.default(600).meta({
    description:
      "Seconds that one image may take in the model, each time that it is run. Default: RunPod's execution time-out",
  }),
  LOTUS_LIVENESS_TIMEOUT: seconds.default(30).meta({
    description:
      'Seconds without a sign of life after which a model process is killed and started again. Signs come during a run too',
  }),
  LOTUS_MAX_CRASHES: z.coerce.number().int().min(1).default(5).meta({
    description:
      'So many crashes of a model process within `LOTUS_CRASH_WINDOW`, or in a row without an image that went well, are too many: it is not started again, and without another one the worker ends with exit code 1',
  }),
  LOTUS_CRASH_WINDOW: seconds
    .default(600)
    .meta({ description: 'See `LOTUS_MAX_CRASHES`. In seconds' }),
  LOTUS_MEMORY_GROWTH: bytes.default(4 * 2 ** 30).meta({
    description:
      'A model process that has so many bytes more than after its first image is replaced by a fresh one, between images',
  }),
  LOTUS_FETCH_ALLOW: z
    .string()
    .default('')
    .transform((text, context) => {
      const read = parseAllowList(text);
      if ('list' in read) return read.list;
      const message = `${read.wrong.join(', ')}: no host name, *.suffix, address or network (10.0.0.0/8)`;
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    })
    .meta({
      description:
        'What `image_url`, `upload_url`, `s3Config` and webhooks may name beside the public internet: a comma-separated list of host names, `*.suffix`, addresses and networks (`images.internal, *.corp.example.com, 10.1.0.0/16`), at any port. Link-local addresses and metadata services stay refused',
    }),
  LOTUS_FETCH_MAX_BYTES: z.coerce
    .number()
    .int()
    .min(1)
    .max(FETCH_BYTES_BOUND)
    .default(64 * 2 ** 20)
    .meta({
      description:
        'The largest file that `image_url` may name, in bytes. The default is what the largest image takes in RGB and alpha without compression',
    }),
  LOTUS_FETCH_TIMEOUT: seconds.default(30).meta({
    description: 'Seconds that fetching an `image_url` may take, redirects included',
  }),
  BUCKET_ENDPOINT_URL: z.string().optional().meta({
    description:
      "RunPod's own, with the two keys: an S3-compatible storage that gets the files of jobs that are not in their answers. `https://<account>.r2.cloudflarestorage.com`, or with the bucket's name in it `https://<bucket>.s3.<region>.amazonaws.com`. Any host, inner ones too",
  }),
  BUCKET_ACCESS_KEY_ID: z.string().optional().meta({
    description:
      'The id of the key by which the storage knows us. It is part of the URLs in answers',
  }),
  BUCKET_SECRET_ACCESS_KEY: z.string().optional().meta({ description: 'That key' }),
  BUCKET_NAME: z
    .string()
    .regex(/^[A-Za-z0-9][\w.-]{0,254}$/, 'must be the name of a bucket: letters, digits and . _ -')
    .optional()
    .meta({
      description:
        "The bucket, where the endpoint does not name it. Default: as in RunPod's SDK the month, `11-26`, which is a folder where the endpoint names the bucket",
    }),
  BUCKET_REGION: z
    .string()
    .regex(/^[\w-]{1,63}$/, 'must be the name of a region: letters, digits and -')
    .optional()
    .meta({
      description:
        "The storage's region. Default: what the endpoint's host says (`s3.<region>.`, `<region>.digitaloceanspaces.com`), else `us-east-1`",
    }),
  LOTUS_UPLOAD_TIMEOUT: seconds.default(120).meta({
    description:
      'Seconds that uploading one file may take, with all tries, to the bucket or to an `upload_url`',
  }),
  LOTUS_SCRATCH_DIR: z.string().optional().meta({
    description:
      'Where pixels pass between Node and Python. Default: `/dev/shm` if there is room, else the temporary folder',
  }),
  LOTUS_LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    .default('warn')
    .meta({
      description:
        'What is logged to standard error. Default: `warn`; `info` for what serves, and for `bootstrap` where nobody is looking',
    }),
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
  HF_TOKEN: z.string().optional().meta({
    description:
      "The hub's own, for gated and private models. The download gets it, and nothing else",
  }),
  HF_ENDPOINT: z.string().optional().meta({
    description: "The hub's own: a mirror of it. Default: `https://huggingface.co`",
  }),
  HF_HUB_OFFLINE: z.string().optional().meta({
    description:
      "The hub's own: `1` forbids to ask it, and a model that is not there is refused. The model process never asks it",
  }),
  HUGGINGFACE_HUB_CACHE: z
    .string()
    .optional()
    .meta({ description: "The hub's old name for `HF_HUB_CACHE`" }),
});

/** Variables whose values nobody gets: no log, file, result or page, and no program that we run but their own. */
export const SECRETS = [
  'LOTUS_API_KEY',
  'HF_TOKEN',
  'RUNPOD_AI_API_KEY',
  'RUNPOD_API_KEY',
  'BUCKET_ACCESS_KEY_ID',
  'BUCKET_SECRET_ACCESS_KEY',
] as const;

export function isSecret(name: string): boolean {
  return (SECRETS as readonly string[]).includes(name);
}

export type Settings = z.infer<typeof settings>;
