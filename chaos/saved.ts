import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { filesIn } from './workspace.ts';

const recordSchema = z.object({ job: z.string() });

/** The jobs whose results lie in a spool, to be delivered. Half of a record is none. */
export async function savedJobs(spool: string): Promise<string[]> {
  const files = (await filesIn(spool)).filter((file) => file.endsWith('.json'));
  const jobs = await Promise.all(files.map((file) => jobOf(path.join(spool, file))));
  return jobs.filter((job) => job !== null);
}

async function jobOf(file: string): Promise<string | null> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(file, 'utf8'))).job;
  } catch {
    return null; // removed in between, or damaged: the worker has to say so
  }
}
