import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Config, Environment } from '../config.ts';
import { checkpointHere } from '../provision/weights.ts';

/** What of a model decides what its maps are, but for the machine. */
export interface ModelIdentity {
  /** The hub id, or the folder's name. */
  id: string;
  /** The commit; of a folder, a digest of its files' names, sizes and times: reading gigabytes would take too long. */
  revision: string;
  prediction: string;
  /** The settings: what `auto` comes to is the machine's. */
  dtype: string;
  upstream: string | null;
}

/**
 * Which model would run, found out without loading it.
 *
 * @returns null when that is not known: it has yet to be downloaded, or is not where it should be.
 */
export async function identifyModel(
  config: Config,
  env: Environment,
): Promise<ModelIdentity | null> {
  const { model, dtype, upstreamSource } = config;
  // Whoever starts the model says what is wrong with it.
  const checkpoint = await checkpointHere(config, env).catch(() => null);
  if (checkpoint === null) return null;
  return {
    id: model.name,
    revision: checkpoint.revision ?? (await digestOf(checkpoint.folder)),
    prediction: model.prediction,
    dtype,
    upstream: upstreamSource?.commit ?? null,
  };
}

async function digestOf(folder: string): Promise<string> {
  const names = (await readdir(folder, { recursive: true })).toSorted();
  const files = names.map(async (name) => {
    const found = await stat(path.join(folder, name));
    return found.isFile() ? [name, found.size, Math.round(found.mtimeMs)] : [];
  });
  const text = JSON.stringify(await Promise.all(files));
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}
