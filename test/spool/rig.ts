import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { Spool } from '../../src/spool/spool.ts';
import { type Owner, thisProcess } from '../../src/storage/owner.ts';

/** A workspace of the test's own. */
export async function workspaceOfTest() {
  const workspace = await mkdtemp(path.join(os.tmpdir(), 'spool-test-'));
  onTestFinished(() => rm(workspace, { recursive: true, force: true }));
  const outputs = path.join(workspace, 'output_images');
  await mkdir(outputs);
  return { workspace, outputs, spool: path.join(outputs, '.spool') };
}

interface SpoolOptions {
  endpoint?: string;
  workerId?: string;
  /** Default: that of a container of its own. */
  owner?: Owner;
  timing?: { beat?: number; gone?: number };
}

/** A worker's spool, and what it logs. It ends with the test. */
export function spoolIn(workspace: string, options: SpoolOptions = {}) {
  const lines: Record<string, unknown>[] = [];
  const log = pino({}, { write: (line: string) => lines.push(JSON.parse(line)) });
  const owner = { ...thisProcess(), machine: randomUUID() };
  const defaults = { endpoint: 'ep1', workerId: 'worker1', owner };
  const spool = new Spool({ workspace, log, ...defaults, ...options });
  onTestFinished(() => spool.close());
  return Object.assign(spool, { lines });
}

/** The folder of a worker's only life. */
export async function folderOf(spool: string, workerId = 'worker1', endpoint = 'ep1') {
  const names = await readdir(path.join(spool, endpoint)).catch(() => []);
  const [name, ...more] = names.filter((one) => one.startsWith(`${workerId}~`));
  if (name && more.length === 0) return path.join(spool, endpoint, name);
  throw new Error(`not one folder of ${workerId}: ${names.join(', ')}`);
}

/** A folder that a worker has left, made by hand. */
export async function leftFolder(spool: string): Promise<string> {
  const dir = path.join(spool, 'ep1', 'worker1~00000000');
  await mkdir(dir, { recursive: true });
  await writeFile(path.join(dir, 'beat'), '');
  await utimes(path.join(dir, 'beat'), 0, 0);
  return dir;
}

/** An answer whose picture is saved, as the handler returns it. */
export async function savedAnswer(outputs: string, id: string, bytes = Buffer.from(`of ${id}`)) {
  const file_path = path.join(outputs, `${id}.png`);
  await writeFile(file_path, bytes);
  return { image_base64: bytes.toString('base64'), file_path, min: 0.25, warnings: ['one'] };
}

/** All that is below a folder, but for beats. */
export async function filesBelow(dir: string): Promise<string[]> {
  const all = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => []);
  return all
    .filter((entry) => !entry.isDirectory() && entry.name !== 'beat')
    .map((entry) => path.relative(dir, path.join(entry.parentPath, entry.name)))
    .sort();
}
