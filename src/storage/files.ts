import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import {
  access,
  type FileHandle,
  mkdir,
  open,
  readFile,
  rename,
  rm,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';

interface WriteOptions {
  /** Whether it survives a loss of power once this has returned; that takes some milliseconds more. */
  readonly durable?: boolean;
}

/**
 * Write a file so that it is never seen half written: aside, then renamed. Its folder is made if it is
 * missing.
 */
export async function writeWhole(
  file: string,
  bytes: Uint8Array | string,
  { durable = false }: WriteOptions = {},
): Promise<void> {
  const dir = path.dirname(file);
  await mkdir(dir, { recursive: true });
  const aside = path.join(dir, `.${randomUUID()}.partial`);
  try {
    await writeFile(aside, bytes, { flag: 'wx', flush: durable });
    await rename(aside, file);
    if (durable) await flushFolder(dir);
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}

/** A name is in its folder for good when that has been written. Where folders cannot be flushed, nobody can. */
export async function flushFolder(dir: string): Promise<void> {
  const folder = await open(dir, 'r');
  try {
    await folder.sync();
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (!['EINVAL', 'ENOTSUP', 'EPERM'].includes(code)) throw error;
  } finally {
    await folder.close();
  }
}

/** A file as `writeWhole` has it before it is renamed: being written, or left by one that was killed. */
export function isHalfWritten(name: string): boolean {
  return /^\.[0-9a-f-]{36}\.partial$/.test(name);
}

/**
 * Open a file to read it: a plain one, no link, not larger than so many bytes. What else is in its place is not
 * touched.
 *
 * @throws an error that says so, or the system's.
 */
export async function openPlain(file: string, maxBytes: number): Promise<FileHandle> {
  // Without waiting for somebody to write into a pipe.
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new Error(`${file} is no plain file`);
    if (found.size > maxBytes) {
      throw new Error(`${file} has ${found.size} bytes, and at most ${maxBytes} are read`);
    }
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Whether there is anything at a path, links followed. */
export async function exists(file: string): Promise<boolean> {
  return await access(file).then(
    () => true,
    () => false,
  );
}

/** For what may be gone: null when that is what an error of the system says, and else the error is thrown. */
export function unlessGone(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}

/** A file's JSON, to be checked by a schema; null when there is no file, or it is damaged. */
export async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return null;
  }
}
