import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import type { Config, Environment } from '../config.ts';
import { LotusError } from '../errors.ts';
import type { Checkpoint } from '../installation.ts';
import { readJson, writeWhole } from '../storage/files.ts';
import { liesIn } from '../storage/inside.ts';
import { checkpointFault } from './checkpoint.ts';
import { download } from './hub.ts';
import { isCheckpointFile, type Patience } from './hub-client.ts';
import type { Room } from './room.ts';
import { bytesIn, fileName, repositoryFolder, snapshotFolder } from './snapshot.ts';
import { missing, type Ready, ready, type Step } from './step.ts';

/** Where RunPod puts the models that an endpoint was told to have cached: a hub cache, read-only. */
const RUNPOD_CACHE = '/runpod-volume/huggingface-cache/hub';

/** A released model in float32. */
const BYTES = 5.3e9;

/** The branch that the hub gives when none is named. */
const DEFAULT_REVISION = 'main';

/** What was found at first, once it was whole: `models/<organisation>--<name>@<revision>.json`. */
const manifestSchema = z.object({
  model: z.string(),
  /** The branch, tag or commit that was asked for. */
  requested: z.string(),
  /** The commit that it was. */
  revision: z.string().regex(/^\w[\w.-]*$/),
  files: z.array(z.object({ name: fileName, bytes: z.number() })),
});
type Manifest = z.infer<typeof manifestSchema>;

interface WeightsOptions {
  config: Config;
  env: Environment;
  /** Look for a newer revision of the branch, and check what is there. */
  update: boolean;
  signal?: AbortSignal | undefined;
  patience?: Patience;
  /** For tests. */
  runpodCache?: string;
}

/**
 * The step that provides the model's checkpoint: the operator's own folder as it is, one of RunPod's cached
 * models, or a download to the hub's cache by the hub's own client.
 *
 * The commit that a branch pointed to is written down and used from then on: a model changes when somebody asks
 * for it (`prefetch --update`), and not because a worker started, or because RunPod has cached another commit. So:
 *
 * 1. A commit that was written down is taken, from RunPod's cache, whose disk is the nearer one, or from ours;
 *    where neither has all of it, that commit is downloaded.
 * 2. Nothing written down: what RunPod has cached is taken, and its commit written down where that is possible. On a
 *    volume that cannot be written to it is used all the same.
 * 3. Neither: the branch is downloaded as it is now, and its commit written down.
 */
export function weightsStep(options: WeightsOptions): Step {
  const { config, env, update } = options;
  const { id } = config.model;
  const requested = config.model.revision ?? DEFAULT_REVISION;
  return {
    name: 'weights',
    async check() {
      if (path.isAbsolute(id)) return found(config, await ownFolder(id), path.dirname(id));
      const pinned = update ? null : await readManifest(config, requested);
      const there = update ? null : await find(options, requested, pinned);
      if (there !== null) return there;
      const revision = pinned?.revision ?? requested;
      refuseOffline(env, `${id}, ${revision}, ${update ? 'is to be updated' : 'is not here'}`);
      return missing(`${id}, ${revision}`, [await roomFor(options)]);
    },
    async make({ python }, report, progress) {
      const pinned = update ? null : await readManifest(config, requested);
      const revision = pinned?.revision ?? requested;
      const name = `${id}, ${describeRevision(revision, requested)}`;
      report(`downloading ${name}, to ${config.hubCache}`);
      const room = (bytes: number) => ({ ...placeOf(options), bytes });
      const how = { ...options, python, revision, name, roomFor: room, report, progress };
      const { folder, commit, names } = await download(how);
      const fault = await checkpointFault(folder);
      if (fault !== null) {
        throw unavailable(
          `${name}, is no whole checkpoint on the hub: ${fault}. Check MODEL_ID and MODEL_REVISION.`,
        );
      }
      const files = await sizesOf(folder, names);
      await writeManifest(config, { model: id, requested, revision: commit, files });
      return found(config, { folder, revision: commit });
    },
  };
}

/**
 * The checkpoint that a start would take, as far as that is known without the hub. Changes nothing.
 *
 * @returns null when it has yet to be downloaded.
 * @throws LotusError `model_unavailable` when a folder is named that has none.
 */
export async function checkpointHere(config: Config, env: Environment): Promise<Checkpoint | null> {
  const { id, revision } = config.model;
  if (path.isAbsolute(id)) return await ownFolder(id);
  const requested = revision ?? DEFAULT_REVISION;
  const pinned = await readManifest(config, requested);
  const there = await find({ config, env, update: false }, requested, pinned);
  return there?.gives?.checkpoint ?? null;
}

function found({ model }: Config, { folder, revision }: Checkpoint, where = 'cache'): Ready {
  const what = `${model.name}${revision === null ? '' : ` ${revision}`} in ${where}`;
  return ready(what, { checkpoint: { folder, revision } });
}

/** Says of a commit that was not asked for where it comes from. */
function describeRevision(revision: string, requested: string): string {
  if (revision === requested) return revision;
  return `${revision} (what ${requested} was at first; \`prefetch --update\` takes what it is now)`;
}

/** What is there: all of what was written down, or, where nothing was, what RunPod has. */
async function find(
  { config, runpodCache = RUNPOD_CACHE }: WeightsOptions,
  requested: string,
  pinned: Manifest | null,
): Promise<Ready | null> {
  const where = "RunPod's cached models";
  if (pinned === null) {
    const { id } = config.model;
    const cached = await cachedByRunPod(runpodCache, id, requested);
    if (cached === null) return null;
    const remember = async () =>
      await writeManifest(config, await describeCached(id, requested, cached));
    return { ...found(config, cached, where), remember };
  }
  const cached = await wholeIn(runpodCache, pinned);
  if (cached !== null) return found(config, cached, where);
  const own = await wholeIn(config.hubCache, pinned);
  return own && found(config, own);
}

async function ownFolder(folder: string): Promise<Checkpoint> {
  const fault = await checkpointFault(folder);
  if (fault === null) return { folder, revision: null };
  throw unavailable(
    `There is no checkpoint in ${folder}: ${fault}. Set MODEL_ID to the path of a checkpoint folder, or to an` +
      ' id on the hub.',
  );
}

/** An operator who has forbidden to ask the hub is told so before gigabytes of packages are installed for it. */
function refuseOffline(env: Environment, what: string): void {
  const offline = env.HF_HUB_OFFLINE ?? '';
  if (!/^(1|on|yes|true)$/i.test(offline)) return; // as the client reads it
  throw unavailable(
    `${what}, and HF_HUB_OFFLINE=${offline} forbids to ask the hub. Unset it, or` +
      ' set MODEL_ID to the path of a checkpoint folder.',
  );
}

/** The whole of a model in RunPod's cache; null when it is not there. */
async function cachedByRunPod(
  cache: string,
  id: string,
  requested: string,
): Promise<Checkpoint | null> {
  const model = repositoryFolder(cache, id);
  const names = await readdir(path.join(model, 'snapshots')).catch(() => []); // it is not cached, or this is not RunPod
  const named = await readFile(path.join(model, 'refs', requested), 'utf8').catch(() => requested);
  // RunPod fetches what a branch was at that time; its cache may have no refs.
  const only = requested === DEFAULT_REVISION && names.length === 1 ? names[0] : undefined;
  const revision = names.find((name) => name === named.trim()) ?? only;
  if (revision === undefined) return null;
  const folder = snapshotFolder(cache, id, revision);
  if ((await checkpointFault(folder)) !== null) return null;
  const files = (await readdir(folder, { recursive: true })).filter(isCheckpointFile);
  return (await areIn(cache, folder, files)) ? { folder, revision } : null;
}

/** Whether no file of a snapshot is a link that leads out of its cache. */
async function areIn(cache: string, folder: string, names: readonly string[]): Promise<boolean> {
  const inside = names.map((name) => liesIn(cache, path.join(folder, name)));
  return !(await Promise.all(inside)).includes(false);
}

async function readManifest(config: Config, requested: string): Promise<Manifest | null> {
  const parsed = manifestSchema.safeParse(await readJson(manifestFile(config, requested)));
  return parsed.success && parsed.data.model === config.model.id ? parsed.data : null;
}

async function writeManifest(config: Config, manifest: Manifest): Promise<void> {
  const text = `${JSON.stringify(manifest, null, 2)}\n`;
  await writeWhole(manifestFile(config, manifest.requested), text);
}

/** The snapshot that a manifest describes, in a hub cache that has all of it. */
async function wholeIn(
  cache: string,
  { model, revision, files }: Manifest,
): Promise<Checkpoint | null> {
  const folder = snapshotFolder(cache, model, revision);
  const whole = await Promise.all(
    files.map(async ({ name, bytes }) => {
      const size = await stat(path.join(folder, name)).then(
        (file) => file.size,
        () => -1,
      );
      return size === bytes;
    }),
  );
  if (whole.includes(false)) return null;
  const names = files.map(({ name }) => name);
  return (await areIn(cache, folder, names)) ? { folder, revision } : null;
}

/** A manifest of what RunPod has, of those files that a download would bring. */
async function describeCached(
  model: string,
  requested: string,
  { folder, revision }: Checkpoint,
): Promise<Manifest> {
  const names = (await readdir(folder, { recursive: true })).filter(isCheckpointFile);
  return {
    model,
    requested,
    revision: revision ?? '',
    files: await sizesOf(folder, names),
  };
}

async function sizesOf(folder: string, names: readonly string[]): Promise<Manifest['files']> {
  const sizes = names.toSorted().map(async (name) => {
    const { size } = await stat(path.join(folder, name)); // what a link points to
    return { name, bytes: size };
  });
  return await Promise.all(sizes);
}

function manifestFile(config: Config, requested: string): string {
  const name = `${config.model.id.replaceAll('/', '--')}@${encodeURIComponent(requested)}.json`;
  return path.join(config.workspace, 'models', name);
}

/** Where the weights go, and what says so. */
function placeOf({ config, env }: WeightsOptions): Pick<Room, 'dir' | 'setting'> {
  const { workspace, hubCache } = config;
  const setting = ['HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HF_HOME'].find((name) => env[name]);
  const isOwn = hubCache.startsWith(`${workspace}${path.sep}`);
  return { dir: hubCache, setting: isOwn ? 'WORKSPACE' : (setting ?? 'HF_HOME') };
}

/** About, before the hub was asked; the download asks for what it really takes, an update only that. */
async function roomFor(options: WeightsOptions): Promise<Room> {
  const { config, update } = options;
  const blobs = path.join(repositoryFolder(config.hubCache, config.model.id), 'blobs');
  const had = async () => (update ? BYTES : await bytesIn(blobs));
  return { ...placeOf(options), bytes: BYTES, had };
}

function unavailable(message: string): LotusError {
  return new LotusError('model_unavailable', message);
}
