import { randomUUID } from 'node:crypto';
import { rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';

/**
 * The time by the clock of the volume that a folder is on, in milliseconds since 1970: the clock by which its files are
 * dated, which need not be ours.
 */
export async function clockOf(dir: string): Promise<number> {
  const probe = path.join(dir, `.${randomUUID()}.partial`);
  await writeFile(probe, '', { flag: 'wx' });
  try {
    return (await stat(probe)).mtimeMs;
  } finally {
    await rm(probe, { force: true });
  }
}
