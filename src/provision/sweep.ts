import { randomUUID } from 'node:crypto';
import { readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { messageOf } from '../errors.ts';
import { describeOwner } from '../storage/owner.ts';
import { halfWritten, leaseHolders } from './leases.ts';
import type { Report } from './step.ts';
import { isHalfMade } from './switch.ts';

/**
 * Where things are built aside under the lock. `tools` is bootstrap's, which has a lock of its own, and leases are
 * written without one.
 */
const BUILT_ASIDE = ['.', 'venvs', 'releases', 'upstream', 'flash-attn', 'models', 'cache/uv'];

/** What runs that were killed have left half made, or one that runs is making. */
export async function halfMade(workspace: string): Promise<string[]> {
  const found: string[] = [];
  for (const folder of BUILT_ASIDE) {
    const dir = path.join(workspace, folder);
    const names = await readdir(dir).catch(() => []); // there is none yet
    found.push(...names.filter((file) => isHalfMade(file)).map((name) => path.join(dir, name)));
  }
  return found;
}

/**
 * Remove what runs that were killed have left half made. Only under the lock: what is half made then is theirs. Two
 * things are made without it: leases, of which only old ones go; and links, whose maker makes them again at the next
 * start.
 */
export async function sweepHalfMade(workspace: string, report: Report): Promise<void> {
  const leases = await halfWritten(workspace).catch(() => []); // nothing can be written there, and nothing removed
  for (const file of [...(await halfMade(workspace)), ...leases]) await removeOrTell(file, report);
}

/**
 * Remove folders that nothing uses any more, but for those that somebody works from.
 *
 * @param group a folder of the workspace, say `venvs`.
 * @param names those in it that are to go: other people's may lie beside them.
 * @returns whether any was removed.
 */
export async function removeUnused(
  workspace: string,
  group: string,
  names: readonly string[],
  report: Report,
): Promise<boolean> {
  const dir = path.join(workspace, group);
  let removed = false;
  for (const name of names) {
    // Whoever works from `name@something` works from `name` too, and says that.
    const [holder] = await leaseHolders(workspace, `${group}/${name.split('@')[0]}`);
    if (holder !== undefined) {
      report(`kept ${group}/${name}: in use by ${describeOwner(holder)}`);
      continue;
    }
    // Out of sight at once: nobody takes it for whole while it is being removed.
    const grave = path.join(dir, `.${name}.${randomUUID()}.partial`);
    await rename(path.join(dir, name), grave);
    await removeOrTell(grave, report);
    report(`removed ${group}/${name}, which nothing uses any more`);
    removed = true;
  }
  return removed;
}

async function removeOrTell(file: string, report: Report): Promise<void> {
  try {
    // With retries: what a killed run had started may still be writing.
    await rm(file, { recursive: true, force: true, maxRetries: 5 });
  } catch (error) {
    report(`${file} could not be removed, and will be tried again: ${messageOf(error)}`);
  }
}
