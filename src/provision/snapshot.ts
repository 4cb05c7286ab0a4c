/** A model in the hub's cache, held against what the hub says it has. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, realpath, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { cancelled } from '../errors.ts';
import { refuseLinkOut } from './links-out.ts';
import type { Progress } from './step.ts';

/** A name that leads to nowhere but below the folder that it is put in. */
export const fileName = z
  .string()
  .refine((name) => !path.isAbsolute(name) && !name.split(/[/\\]/).includes('..'));

const listedFile = z.object({
  name: fileName,
  /** A mirror of the hub may leave out this and the digests. */
  bytes: z.number().nullable(),
  /** Of a large file. */
  sha256: z.string().nullable(),
  /** Of the others: as git names a blob. */
  blob: z.string().nullable(),
});
export type ListedFile = z.infer<typeof listedFile>;

/** What `lotus_worker/hub_files.py` prints: the hub's word on a revision. */
export const listingSchema = z.object({
  commit: z.string().regex(/^[0-9a-f]{40}$/),
  files: z.array(listedFile),
});
export type Listing = z.infer<typeof listingSchema>;

/** Where a hub cache keeps a model; a move of the whole folder does it no harm. */
export function repositoryFolder(cache: string, id: string): string {
  return path.join(cache, `models--${id.replaceAll('/', '--')}`);
}

export function snapshotFolder(cache: string, id: string, commit: string): string {
  return path.join(repositoryFolder(cache, id), 'snapshots', commit);
}

export function sizeOf({ files }: Listing): number {
  return files.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
}

/** How much of a listing is there, or has been begun. */
export async function bytesThere(repository: string, listing: Listing): Promise<number> {
  const sizes = listing.files.map(async ({ name, bytes, sha256, blob }) => {
    const inBlobs = path.join(repository, 'blobs', sha256 ?? blob ?? '.none');
    const places = [
      path.join(repository, 'snapshots', listing.commit, name),
      inBlobs,
      `${inBlobs}.incomplete`,
    ];
    const found = await Promise.all(places.map(fileSize));
    return Math.min(Math.max(...found), bytes ?? 0);
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** The bytes of the files in a folder; of what goes away meanwhile, none. */
export async function bytesIn(dir: string): Promise<number> {
  const names = await readdir(dir).catch(() => []); // nothing yet
  const sizes = await Promise.all(names.map((name) => fileSize(path.join(dir, name))));
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function fileSize(file: string): Promise<number> {
  return await stat(file).then(
    (found) => (found.isFile() ? found.size : 0),
    () => 0,
  );
}

interface Inspection {
  cache: string;
  /** The snapshot. */
  folder: string;
  listing: Listing;
  /** Files that were found to be right before, and are not read again; those that are now are added. */
  sound: Set<string>;
  progress: Progress;
  signal?: AbortSignal | undefined;
}

/**
 * Read every file of a snapshot and compare it with what the hub has. What is damaged is removed, all of it, so
 * that it is fetched again.
 *
 * @returns the names of the files that are missing, and of those that were damaged.
 * @throws LotusError `cancelled`, or `model_unavailable` for a link that leads out of the cache.
 */
export async function inspect(
  options: Inspection,
): Promise<{ missing: string[]; damaged: string[] }> {
  const { cache, folder, listing, sound, progress, signal } = options;
  const unread = listing.files.filter(({ name }) => !sound.has(name));
  const total = sizeOf({ ...listing, files: unread });
  const missing: string[] = [];
  const damaged: string[] = [];
  let read = 0;
  const count = (bytes: number) => {
    read += bytes;
    progress('checking', read, total);
  };
  for (const file of unread) {
    await refuseLinkOut(cache, path.join(folder, file.name));
    const real = await realpath(path.join(folder, file.name)).catch(() => null); // none, or a link to none
    if (real === null) missing.push(file.name);
    else if (await isWhole(real, file, count, signal)) sound.add(file.name);
    else {
      await rm(real);
      damaged.push(file.name);
    }
  }
  return { missing, damaged };
}

async function isWhole(
  file: string,
  { bytes, sha256, blob }: ListedFile,
  count: (bytes: number) => void,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const { size } = await stat(file);
  if (bytes !== null && size !== bytes) return false;
  const digest = sha256 ?? blob;
  if (digest === null) return true; // nobody can tell
  const hash = createHash(sha256 === null ? 'sha1' : 'sha256');
  if (sha256 === null) hash.update(`blob ${size}\0`);
  try {
    const counted = async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        count(chunk.length);
        yield chunk;
      }
    };
    const source = createReadStream(file, { highWaterMark: 1 << 20 });
    await pipeline(source, counted, hash, { ...(signal && { signal }) });
  } catch (error) {
    throw signal?.aborted ? cancelled() : error;
  }
  return hash.digest('hex') === digest;
}
