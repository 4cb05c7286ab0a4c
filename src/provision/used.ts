import { readdir, stat, utimes } from 'node:fs/promises';
import path from 'node:path';

/** Note on a folder that it is used now: by its own time, which is that of its making otherwise. */
export async function noteUse(folder: string): Promise<void> {
  const now = new Date();
  // Only who is to stay depends on it; on a read-only volume, or on another user's folder, nobody can.
  await utimes(folder, now, now).catch(() => {});
}

/** Of the folders of such names those that were used last. */
export async function lastUsed(
  dir: string,
  isMeant: (name: string) => boolean,
  count: number,
): Promise<string[]> {
  const names = (await readdir(dir)).filter(isMeant);
  const dated = await Promise.all(
    names.map(async (name) => ({ name, at: (await stat(path.join(dir, name))).mtimeMs })),
  );
  const sorted = dated.sort((a, b) => b.at - a.at).slice(0, count);
  return sorted.map(({ name }) => name);
}
