import { readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { onTestFinished } from 'vitest';
import { IMAGES, start } from '../cli/cli.ts';
import { StandInPlatform } from '../runpod/platform.ts';

export const API_KEY = 'sk-of-the-endpoint';

/** An input that is answered with a map, quickly. */
export async function goodInput(more: Record<string, unknown> = {}) {
  const image_base64 = (await readFile(path.join(IMAGES, 'corridor.jpg'))).toString('base64');
  return { api_key: API_KEY, image_base64, processing_res: 64, ...more };
}

/** `lotus-worker serve`, the real one, on the sample model and a stand-in for the platform. */
export async function startWorker(env: Record<string, string> = {}, args = ['serve']) {
  const platform = await StandInPlatform.start();
  const child = start(args, {
    ...platform.env(200),
    LOTUS_ALLOW_EPHEMERAL: '1', // the platform's environment means a volume
    LOTUS_API_KEY: API_KEY,
    LOTUS_LOG_LEVEL: 'debug',
    ...env,
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await child;
    await platform.close();
    await Promise.all([...platform.accepted.keys()].map((id) => removeOutputs(platform, id)));
  });
  /** Resolves when it is so, and fails when the worker has ended before that. */
  const until = async (isSo: () => boolean) => {
    const ended = child.then(({ exitCode, stderr }) => {
      if (!isSo()) throw new Error(`the worker has ended with ${exitCode}: ${stderr}`);
    });
    await Promise.race([platform.until(isSo), ended]);
  };
  return {
    platform,
    child,
    until,
    /** Resolves when the log has this in it. */
    logged: (text: string) => said(child.stderr, (written) => written.includes(text)),
    /** The results of jobs, when they are there. */
    results: async (...ids: string[]) => {
      await until(() => ids.every((id) => platform.results(id).length > 0));
      return ids.map((id) => platform.results(id)[0]);
    },
    /** Ends it as the platform does. */
    end: async () => {
      terminate(child);
      const { exitCode, stdout, stderr } = await child;
      return { exitCode, stdout, stderr, lines: logLines(stderr) };
    },
  };
}

/** Resolves with what a worker has written, as soon as that is so. */
export async function said(output: Readable, isSo: (written: string) => boolean): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let written = '';
  const look = (chunk: Buffer) => {
    written += chunk;
    if (isSo(written)) resolve(written);
  };
  const over = () => reject(new Error(`the worker has ended and said nothing but: ${written}`));
  output.on('data', look).once('close', over);
  try {
    return await promise;
  } finally {
    output.off('data', look).off('close', over);
  }
}

/** As the platform does it: execa's own way would kill it soon after. */
export function terminate({ pid }: { pid?: number }): void {
  if (pid !== undefined) process.kill(pid, 'SIGTERM');
}

/** They lie in the workspace, which is not the test's own. */
async function removeOutputs(platform: StandInPlatform, id: string): Promise<void> {
  interface Output {
    files?: { file_path: string }[];
    images?: Output[];
  }
  for (const { output } of platform.results(id) as { output?: Output }[]) {
    const files = [output, ...(output?.images ?? [])].flatMap((one) => one?.files ?? []);
    for (const { file_path } of files) await rm(file_path, { force: true });
  }
}

export function logLines(stderr: string): Record<string, unknown>[] {
  return stderr.split('\n').filter(Boolean).map(parseLine);
}

function parseLine(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line);
  } catch {
    throw new Error(`the log has a line that is no record: ${line}`);
  }
}

/** The Python processes that a worker has started. */
export async function pythonsOf(pid: number | undefined): Promise<number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((one) => one > 0);
  const parents = await Promise.all(
    pids.map(async (one) => {
      const stat = await readFile(`/proc/${one}/stat`, 'utf8').catch(() => ''); // it has just ended
      return { one, parent: Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) };
    }),
  );
  return parents.filter(({ parent }) => parent === pid).map(({ one }) => one);
}
