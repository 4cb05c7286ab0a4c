/**
 * Downloads from the hub, by its own client, `hf download`. Of which one must know (0.36.2, found by running it):
 *
 * - it ends well when it could not ask the hub and has some of the files, so the hub is asked first which files
 *   there are (`hub_files.py`), and what it has brought is held against that;
 * - it compares sizes and never contents, so they are checked here, by the hub's own digests;
 * - it does not try again when a connection drops in the middle of a file, and goes on from there when it is run
 *   again; what it keeps are whole steps of 10 MiB;
 * - it can stand still for ever, so one that does is ended and run again;
 * - its faster protocol, Xet, cannot go on from where it was, and is switched off.
 */
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cancelled, LotusError } from '../errors.ts';
import { type ClientOptions, fetchFiles, listFiles, PATIENCE } from './hub-client.ts';
import { type Fault, unreachable } from './hub-faults.ts';
import { refuseLinkOut, refuseLinksOut } from './links-out.ts';
import { gigabytes, type Room, requireRooms } from './room.ts';
import {
  bytesIn,
  bytesThere,
  inspect,
  type Listing,
  repositoryFolder,
  sizeOf,
  snapshotFolder,
} from './snapshot.ts';
import type { Report } from './step.ts';

/** Tries in a row that brought nothing, before it is given up. */
const ATTEMPTS = 3;

export interface Download extends ClientOptions {
  /** A branch, a tag or a commit. */
  revision: string;
  /** What it is called in messages. */
  name: string;
  /** Where so many bytes will go. */
  roomFor: (bytes: number) => Room;
  report: Report;
}

/** Every file in it is what the hub has. */
export interface Downloaded {
  folder: string;
  commit: string;
  /** The files that were asked for; others may lie beside them. */
  names: string[];
}

/**
 * Download a model to the hub's cache. What an interrupted download has left is used.
 *
 * @throws LotusError `model_unavailable` saying what to do, or `cancelled`; SetupError when there is no room.
 */
export async function download(options: Download): Promise<Downloaded> {
  const { config, revision, roomFor, report } = options;
  const { id } = config.model;
  const listing = await persist(options, () => list(options, revision));
  const names = listing.files.map(({ name }) => name);
  const [all, had] = [
    sizeOf(listing),
    await bytesThere(repositoryFolder(config.hubCache, id), listing),
  ];
  await requireRooms([roomFor(all - had)]);
  const size = all > 0 ? `, ${gigabytes(all)}` : '';
  const there = had > 0 ? `, ${gigabytes(had)} of it there` : '';
  report(`${names.length} files of commit ${listing.commit}${size}${there}`);
  const sound = new Set<string>();
  await persist(options, () => fetchOnce(options, listing, sound));
  return {
    folder: snapshotFolder(config.hubCache, id, listing.commit),
    commit: listing.commit,
    names,
  };
}

/** Try it for as long as trying again may help and has brought something. */
async function persist<T>(
  options: Download,
  attempt: () => Promise<T | { fault: Fault }>,
): Promise<T> {
  const { config, name, report, signal, patience = PATIENCE } = options;
  const repository = repositoryFolder(config.hubCache, config.model.id);
  const blobs = path.join(repository, 'blobs');
  for (let vain = 0; ; ) {
    await refuseLinksOut(config.hubCache, repository);
    const before = await bytesIn(blobs);
    const result = await attempt();
    if (!isFault(result)) return result;
    const { what, mayPass, isLeftover, cause } = result.fault;
    if (isLeftover) await removeUnfinished(blobs);
    vain = (await bytesIn(blobs)) > before ? 0 : vain + 1;
    if (!mayPass || vain === ATTEMPTS) {
      throw new LotusError('model_unavailable', `Cannot download ${name}: ${what}`, { cause });
    }
    report(`it broke off (${what}); going on`);
    await sleep(patience.pause, undefined, { ...(signal && { signal }) }).catch(() => {
      throw cancelled();
    });
  }
}

function isFault<T>(result: T | { fault: Fault }): result is { fault: Fault } {
  return typeof result === 'object' && result !== null && 'fault' in result;
}

/** What the hub has, when that can be a checkpoint: of other models not a gigabyte is downloaded. */
async function list(options: Download, revision: string): Promise<Listing | { fault: Fault }> {
  const listing = await listFiles(options, revision);
  if (isFault(listing)) return listing;
  if (listing.files.some(({ name }) => name === 'model_index.json')) return listing;
  const what = 'it is no checkpoint: it has no model_index.json. Check MODEL_ID.';
  return { fault: { what, mayPass: false } };
}

async function fetchOnce(
  options: Download,
  listing: Listing,
  sound: Set<string>,
): Promise<undefined | { fault: Fault }> {
  const { config, progress, report, signal } = options;
  const { hubCache: cache, model } = config;
  const folder = snapshotFolder(cache, model.id, listing.commit);
  for (const { name } of listing.files) {
    await refuseLinkOut(cache, path.dirname(path.join(folder, name))); // the client would write there
  }
  const fetched = await fetchFiles(options, listing);
  if (isFault(fetched)) return fetched;
  report('checking what there is');
  const { missing, damaged } = await inspect({ cache, folder, listing, sound, progress, signal });
  if (damaged.length > 0) {
    const were = damaged.length > 1 ? 'were damaged on their' : 'was damaged on its';
    const what = `${damaged.join(', ')} ${were} way; what is damaged is removed`;
    return { fault: { what, mayPass: true } };
  }
  // It said that it was done, and had not asked.
  if (missing.length > 0) return { fault: unreachable(`${missing.join(', ')} did not come`) };
  return undefined;
}

/** What a killed download leaves is asked on from, and the hub refuses that when it is longer than the file. */
async function removeUnfinished(blobs: string): Promise<void> {
  for (const name of await readdir(blobs)) {
    if (name.endsWith('.incomplete')) await rm(path.join(blobs, name), { force: true });
  }
}
