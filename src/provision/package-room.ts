import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Config } from '../config.ts';
import { onOneDisk, type Room } from './room.ts';

/**
 * The room that installing packages takes. uv unpacks them into its cache and gives the venv's files second
 * names there, which takes no room of its own; to another disk it copies them.
 *
 * @param linksFiles whether files can have two names there; without it cache and venv are there in full.
 */
export async function roomForPackages(
  { workspace, uvCache }: Config,
  bytes: number,
  linksFiles = true,
): Promise<Room[]> {
  const had = () => bytesCached(uvCache);
  if (await onOneDisk(workspace, uvCache)) {
    return [{ dir: workspace, bytes: linksFiles ? bytes : 2 * bytes, had }];
  }
  return [
    { dir: workspace, bytes },
    { dir: uvCache, bytes, had, setting: 'UV_CACHE_DIR' },
  ];
}

/**
 * What an interrupted install has left in uv's cache and need not be downloaded again.
 *
 * What a venv has, too, is not counted: in two names it is the packages of a finished set, and which of them the new
 * set shares is not looked at. So a new set in which little has changed is asked as much room for as one in which all
 * has, though it takes less: room that is there is not used, and none is used that is not there. A cache that
 * other projects use, or that lies on another disk than the venvs, may hold more than these packages in one name: then
 * less is asked for than is needed, and a full disk is told of when it is.
 */
async function bytesCached(dir: string): Promise<number> {
  // What a killed uv was unpacking is in `.tmp...`, and nothing looks there again.
  const entries = (await readdir(dir, { withFileTypes: true }).catch(() => [])) // there is no cache yet
    .filter(({ name }) => !name.startsWith('.tmp'));
  const sizes = entries.map(async (entry) => {
    const file = path.join(dir, entry.name);
    if (entry.isDirectory()) return await bytesCached(file);
    if (!entry.isFile()) return 0;
    return await lstat(file).then(
      ({ size, nlink }) => (nlink > 1 ? 0 : size),
      () => 0, // cleaned meanwhile
    );
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
