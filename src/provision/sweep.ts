import { randomUUID } from 'node:crypto';
import { readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { messageOf } from '../errors.ts';
import { leaseHolders } from './leases.ts';
import { describeOwner } from './owner.ts';
import type { Report } from './step.ts';
import { isHalfMade } from './switch.ts';

/** Where things are built aside. `tools` is bootstrap's, which has a lock of its own. */
const BUILT_ASIDE = [
  '.',
  'venvs',
  'releases',
  'upstream',
  'flash-attn',
  'models',
  'leases',
  'cache/uv',
];

/** What we call a finished folder: other people's may lie beside it. */
const OURS = /-[0-9a-f]{12}(@[0-9a-f]{8})?$/;

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

/** Remove what runs that were killed have left half made. Only under the lock: what is half made is theirs. */
export async function sweepHalfMade(workspace: string, report: Report): Promise<void> {
  for (const file of await halfMade(workspace)) await removeOrTell(file, report);
}

/**
 * Remove the folders beside those that are used now, but for those that somebody works from.
 *
 * @param group a folder of the workspace, say `venvs`.
 * @returns whether any was removed.
 */
export async function removeOthers(
  workspace: string,
  group: string,
  isUsed: (name: string) => boolean,
  report: Report,
): Promise<boolean> {
  const dir = path.join(workspace, group);
  const names = (await readdir(dir)).filter((name) => OURS.test(name) && !isUsed(name));
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
