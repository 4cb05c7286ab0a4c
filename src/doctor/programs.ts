import { VERSION } from '../app.ts';
import type { Config } from '../config.ts';
import { messageOf } from '../errors.ts';
import { runProgram } from '../provision/program.ts';
import { requireUv } from '../provision/uv.ts';
import { type Finding, note, ok } from './finding.ts';

/** Saying a version takes a moment, on a cold volume some seconds. */
const LIMIT_MS = 30_000;

/** The programs that it is made of and made with. Those that only set up are no fault where all is there. */
export async function examinePrograms(config: Config, signal?: AbortSignal): Promise<Finding[]> {
  return [
    ok('lotus-worker', VERSION),
    ok('node', `${process.version} ${process.platform}-${process.arch}, ${process.execPath}`),
    await examineUv(config, signal),
    await examineGit(signal),
  ];
}

async function examineUv(config: Config, signal?: AbortSignal): Promise<Finding> {
  try {
    const uv = await requireUv(config, signal);
    const { stdout } = await runProgram(uv, ['--version'], { timeout: LIMIT_MS, signal });
    return ok('uv', `${stdout.trim()}, ${uv}`);
  } catch (error) {
    return note('uv', messageOf(error), 'needed only to install Python packages');
  }
}

async function examineGit(signal?: AbortSignal): Promise<Finding> {
  const { failed, stdout, code, shortMessage } = await runProgram('git', ['--version'], {
    timeout: LIMIT_MS,
    signal,
  });
  if (!failed) return ok('git', stdout.trim());
  const what = code === 'ENOENT' ? 'there is none' : shortMessage;
  return note('git', what, "needed only to fetch upstream's repository");
}
