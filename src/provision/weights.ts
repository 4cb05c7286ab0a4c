import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import type { Config, Environment } from '../config.ts';
import { LotusError } from '../errors.ts';
import type { Checkpoint } from '../installation.ts';
import { readJson, writeWhole } from '../storage/files.ts';
import { checkpointFault } from './checkpoint.ts';
import { bytesIn, download, type Patience, repositoryFolder } from './hub.ts';
import { missing, ready, type Step } from './step.ts';

/** Where RunPod puts the models that an endpoint was told to have cached: a hub cache, read-only. */
const RUNPOD_CACHE = '/runpod-volume/huggingface-cache/hub';

/** A released model in float32. */
const BYTES = 5.3e9;

/** The branch that the hub gives when none is named. */
const DEFAULT_REVISION = 'main';

/** What was downloaded, once it was whole: `models/<organisation>--<name>@<revision>.json`. */
const manifestSchema = z.object({
  model: z.string(),
  /** The branch, tag or commit that was asked for. */
  requested: z.string(),
  /** The commit that it was. */
  revision: z.string(),
  files: z.array(z.object({ name: z.string(), bytes: z.number() })),
});
type Manifest = z.infer<typeof manifestSchema>;

interface WeightsOptions {
  config: Config;
  env: Environment;
  /** Look for a newer revision of the branch, and check what is there. */
  update: boolean;
  signal?: AbortSignal | undefined;
  patience?: Patience;
}

/**
 * The step that provides the model's checkpoint: the operator's own folder as it is, one of RunPod's cached
 * models, or a download to the hub's cache by the hub's own client.
 *
 * The commit that a branch pointed to is written down and used from then on: a model changes when somebody asks
 * for it (`prefetch --update`), and not because a worker started.
 */
export function weightsStep(options: WeightsOptions): Step {
  const { config, update } = options;
  const { id } = config.model;
  const requested = config.model.revision ?? DEFAULT_REVISION;
  const found = ({ folder, revision }: Checkpoint, where = 'cache') =>
    ready(`${config.model.name}${revision ? ` ${revision}` : ''} in ${where}`, {
      checkpoint: { folder, revision },
    });
  return {
    name: 'weights',
    async check() {
      if (path.isAbsolute(id)) return found(await ownFolder(id), path.dirname(id));
      const cached = await cachedByRunPod(id, requested);
      if (cached !== null) return found(cached, "RunPod's cached models");
      const manifest = update ? null : await readManifest(config, requested);
      if (manifest !== null) return found(checkpointOf(config, manifest));
      return missing(`${id}, ${requested}`, BYTES - (await bytesHad(config)));
    },
    async make({ python }, report) {
      report(`downloading ${id}, ${requested}, to ${config.hubCache}`);
      const folder = await download({ ...options, python, requested, report });
      const fault = await checkpointFault(folder);
      if (fault !== null)
        throw unavailable(
          `${id}, ${requested}, is no whole checkpoint: ${fault}. If the hub could not be reached just now, run` +
            ' it again; else check MODEL_ID.',
        );
      const manifest = await describeDownload(id, requested, folder);
      await writeWhole(manifestFile(config, requested), `${JSON.stringify(manifest, null, 2)}\n`);
      return found(checkpointOf(config, manifest));
    },
  };
}

async function ownFolder(folder: string): Promise<Checkpoint> {
  const fault = await checkpointFault(folder);
  if (fault === null) return { folder, revision: null };
  throw unavailable(
    `There is no checkpoint in ${folder}: ${fault}. Set MODEL_ID to the path of a checkpoint folder, or to an` +
      ' id on the hub.',
  );
}

/** The whole of a model in RunPod's cache; null when it is not there. */
async function cachedByRunPod(id: string, requested: string): Promise<Checkpoint | null> {
  const model = repositoryFolder(RUNPOD_CACHE, id);
  const snapshots = path.join(model, 'snapshots');
  const names = await readdir(snapshots).catch(() => []); // it is not cached, or this is not RunPod
  const named = await readFile(path.join(model, 'refs', requested), 'utf8').catch(() => requested);
  // RunPod fetches what a branch was at that time; its cache may have no refs.
  const only = requested === DEFAULT_REVISION && names.length === 1 ? names[0] : undefined;
  const revision = names.find((name) => name === named.trim()) ?? only;
  if (revision === undefined) return null;
  const folder = path.join(snapshots, revision);
  return (await checkpointFault(folder)) === null ? { folder, revision } : null;
}

async function readManifest(config: Config, requested: string): Promise<Manifest | null> {
  const parsed = manifestSchema.safeParse(await readJson(manifestFile(config, requested)));
  if (!parsed.success) return null;
  const { folder } = checkpointOf(config, parsed.data);
  const whole = await Promise.all(
    parsed.data.files.map(async ({ name, bytes }) => {
      const size = await stat(path.join(folder, name)).then(
        (file) => file.size,
        () => -1,
      );
      return size === bytes;
    }),
  );
  return whole.includes(false) ? null : parsed.data;
}

function checkpointOf(config: Config, { model, revision }: Manifest): Checkpoint {
  const snapshots = path.join(repositoryFolder(config.hubCache, model), 'snapshots');
  return { folder: path.join(snapshots, revision), revision };
}

async function describeDownload(
  model: string,
  requested: string,
  folder: string,
): Promise<Manifest> {
  const listed = await readdir(folder, { recursive: true });
  const files: Manifest['files'] = [];
  for (const name of listed.sort()) {
    const file = await stat(path.join(folder, name)); // what a link points to
    if (file.isFile()) files.push({ name, bytes: file.size });
  }
  // The hub's cache names a snapshot's folder by its commit.
  return { model, requested, revision: path.basename(folder), files };
}

function manifestFile(config: Config, requested: string): string {
  const name = `${config.model.id.replaceAll('/', '--')}@${encodeURIComponent(requested)}.json`;
  return path.join(config.workspace, 'models', name);
}

/** What an interrupted download has left, which need not be downloaded again. */
async function bytesHad({ hubCache, model }: Config): Promise<number> {
  const had = await bytesIn(path.join(repositoryFolder(hubCache, model.id), 'blobs'));
  return Math.min(had, BYTES);
}

function unavailable(message: string): LotusError {
  return new LotusError('model_unavailable', message);
}
