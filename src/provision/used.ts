import { readdir, stat, utimes } from 'node:fs/promises';
import path from 'node:path';

/** Note on a folder that it is used now: by its own time, which is that of its making otherwise. */
export async function noteUse(folder: string): Promise<void> {
  const now = new Date();
  // Only who is to stay depends on it; on a read-only volume, or on another user's folder, nobody can.
  await utimes(folder, now, now).catch(() => {});
}

/** Of the folders of such names those that were used last. One that is being removed meanwhile is none of them. */
export async function lastUsed(
  dir: string,
  isMeant: (name: string) => boolean,
  count: number,
): Promise<string[]> {
  const names = (await readdir(dir)).filter(isMeant);
  const dated = await Promise.all(
    names.map(async (name) => ({ name, at: await dateOf(path.join(dir, name)) })),
  );
  const sorted = dated.filter(({ at }) => at !== null).sort((a, b) => Number(b.at) - Number(a.at));
  return sorted.slice(0, count).map(({ name }) => name);
}

async function dateOf(folder: string): Promise<number | null> {
  try {
    return (await stat(folder)).mtimeMs;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESTALE') return null; // the second is what NFS says of it
    throw error;
  }
}
