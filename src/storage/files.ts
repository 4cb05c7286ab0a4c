import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

/**
 * Write a file so that it is never seen half written: aside, then renamed. Its folder is made if it is
 * missing.
 */
export async function writeWhole(file: string, bytes: Uint8Array | string): Promise<void> {
  const dir = path.dirname(file);
  await mkdir(dir, { recursive: true });
  const aside = path.join(dir, `.${randomUUID()}.partial`);
  try {
    await writeFile(aside, bytes, { flag: 'wx' });
    await rename(aside, file);
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}
