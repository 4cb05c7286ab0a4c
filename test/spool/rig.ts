import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { Spool } from '../../src/spool/spool.ts';

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
  timing?: { beat?: number; gone?: number };
}

/** A worker's spool, and what it logs. It ends with the test. */
export function spoolIn(workspace: string, options: SpoolOptions = {}) {
  const lines: Record<string, unknown>[] = [];
  const log = pino({}, { write: (line: string) => lines.push(JSON.parse(line)) });
  const defaults = { endpoint: 'ep1', workerId: 'worker1' };
  const spool = new Spool({ workspace, log, ...defaults, ...options });
  onTestFinished(() => spool.close());
  return Object.assign(spool, { lines });
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
