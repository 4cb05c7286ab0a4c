/**
 * Links that somebody has put into a hub cache and that lead out of it: what they lead to would be read as weights,
 * written over, or removed as damaged. The hub's own links, from a snapshot to a blob, stay inside.
 */
import { readdir, readlink, realpath } from 'node:fs/promises';
import path from 'node:path';
import { LotusError } from '../errors.ts';
import { isWithin } from '../storage/inside.ts';

/** Links behind one another that are followed, as many as Linux does. */
const MAX_LINKS = 40;

/** Folders of a model that the hub's client makes and writes to. */
const WRITTEN = ['.', 'blobs', 'refs', 'snapshots', '.no_exist'];

/**
 * Refuse what would have the hub's client, or us, write or remove outside of the cache: a folder of the model, a file
 * that is begun, or a lock, which is emptied when it is taken.
 *
 * @param repository the model's folder in it.
 * @throws LotusError `model_unavailable`.
 */
export async function refuseLinksOut(cache: string, repository: string): Promise<void> {
  const locks = path.join(cache, '.locks', path.basename(repository));
  for (const name of WRITTEN) await refuseLinkOut(cache, path.join(repository, name));
  await refuseLinkOut(cache, locks);
  const blobs = path.join(repository, 'blobs');
  const begun = (await namesIn(blobs)).filter((name) => name.endsWith('.incomplete'));
  for (const name of begun) await refuseLinkOut(cache, path.join(blobs, name));
  for (const name of await namesIn(locks)) await refuseLinkOut(cache, path.join(locks, name));
}

/**
 * Refuse one file or folder, there or not, if the way to it leads out of the cache.
 *
 * @throws LotusError `model_unavailable`.
 */
export async function refuseLinkOut(cache: string, file: string): Promise<void> {
  const [root, real] = await Promise.all([destination(cache), destination(file)]);
  if (isWithin(root, real)) return;
  throw new LotusError(
    'model_unavailable',
    `${file} leads to ${real}, out of the cache ${cache}: remove the link, or set HF_HOME to where the models are.`,
  );
}

/** Where a file would be if it were written: links are followed, those to nothing as well. */
async function destination(file: string, links = 0): Promise<string> {
  const real = await realpath(file).catch(() => null);
  const above = path.dirname(file);
  if (real !== null || above === file) return real ?? file;
  const place = path.join(await destination(above, links), path.basename(file));
  const next = await readlink(file).catch(() => null); // not there, or no link
  // One without end cannot be written through.
  if (next === null || links === MAX_LINKS) return place;
  return await destination(path.resolve(path.dirname(place), next), links + 1);
}

async function namesIn(dir: string): Promise<string[]> {
  return await readdir(dir).catch(() => []); // nothing yet
}
