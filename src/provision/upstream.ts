import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Config } from '../config.ts';
import { SetupError, withoutCredentials } from '../errors.ts';
import { runProgram } from './program.ts';
import { missing, ready, type Step } from './step.ts';
import { buildAside } from './switch.ts';

/**
 * The step that provides upstream's checkout: the operator's own as it is, or `upstream/<commit>`, fetched
 * shallowly and verified to be that commit.
 */
export function upstreamStep(config: Config, signal?: AbortSignal): Step {
  const { upstreamDir, upstreamSource } = config;
  const found = ready(upstreamDir, { upstream: upstreamDir });
  return {
    name: 'upstream',
    async check() {
      if (await isCheckout(upstreamDir)) return found;
      if (upstreamSource !== null) return missing(`commit ${upstreamSource.commit}`, 100e6);
      throw new SetupError(
        `LOTUS_UPSTREAM_DIR ${upstreamDir} has no pipeline.py: point it at a checkout of` +
          ' EnVision-Research/Lotus, or unset it to have one fetched.',
      );
    },
    async make(_made, report) {
      if (upstreamSource === null) throw new Error('an own checkout is never made');
      report(`fetching ${upstreamSource.commit} from ${withoutCredentials(upstreamSource.url)}`);
      await mkdir(path.dirname(upstreamDir), { recursive: true });
      await buildAside(upstreamDir, (aside) => fetchCommit(aside, upstreamSource, signal));
      return found;
    },
  };
}

async function isCheckout(dir: string): Promise<boolean> {
  const file = await stat(path.join(dir, 'pipeline.py')).catch(() => null);
  return file?.isFile() ?? false;
}

async function fetchCommit(
  dir: string,
  { url, commit }: { url: string; commit: string },
  signal?: AbortSignal,
): Promise<void> {
  const shown = withoutCredentials(url);
  const git = (...args: string[]) => runGit(dir, args, shown, signal);
  await git('init', '--quiet');
  await git('fetch', '--quiet', '--depth', '1', '--no-tags', '--', url, commit);
  await git('checkout', '--quiet', '--detach', 'FETCH_HEAD');
  const head = await git('rev-parse', 'HEAD');
  if (head !== commit) {
    throw new SetupError(`${shown} gave commit ${head}, not ${commit}; check LOTUS_UPSTREAM_URL.`);
  }
  if (!(await isCheckout(dir))) {
    throw new SetupError(
      `Commit ${commit} of ${shown} has no pipeline.py; it is not upstream's repository. Check` +
        ' LOTUS_UPSTREAM_URL and LOTUS_UPSTREAM_COMMIT.',
    );
  }
}

async function runGit(
  dir: string,
  args: readonly string[],
  source: string,
  signal?: AbortSignal,
): Promise<string> {
  const { failed, stdout, stderr, code, shortMessage } = await runProgram('git', args, {
    cwd: dir,
    signal,
    env: {
      GIT_TERMINAL_PROMPT: '0', // nobody is there to answer
      ...NO_OTHER_REPOSITORY,
    },
  });
  if (!failed) return stdout.trim();
  if (code === 'ENOENT') {
    throw new SetupError('git is needed to fetch upstream: install it, or set LOTUS_UPSTREAM_DIR.');
  }
  throw new SetupError(
    `Cannot get upstream from ${source}: ${withoutCredentials(stderr.trim()) || shortMessage}\nCheck the network,` +
      ' LOTUS_UPSTREAM_URL and LOTUS_UPSTREAM_COMMIT, or set LOTUS_UPSTREAM_DIR to a checkout.',
  );
}

/** Inside a git hook these point at the caller's own repository, which is not ours to touch. */
const NO_OTHER_REPOSITORY = {
  GIT_DIR: undefined,
  GIT_WORK_TREE: undefined,
  GIT_INDEX_FILE: undefined,
  GIT_COMMON_DIR: undefined,
  GIT_OBJECT_DIRECTORY: undefined,
};
