import { mkdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Config } from '../config.ts';
import { SetupError, withoutCredentials } from '../errors.ts';
import { exists } from '../storage/files.ts';
import { liesIn } from '../storage/inside.ts';
import { type Ended, runProgram } from './program.ts';
import { missing, ready, type Step } from './step.ts';
import { buildAside } from './switch.ts';

/** Slower than this for so long, and a transfer over HTTP is given up. */
const LOW_SPEED = { bytesPerSecond: 1000, seconds: 60 };

/** For a call of git's, whatever it is that hangs: 50 MB, on a slow line or a slow volume. */
const LIMIT_MS = 900_000;

/**
 * The step that provides upstream's checkout: the operator's own as it is, or `upstream/<commit>`, fetched
 * shallowly and verified to be that commit.
 */
export function upstreamStep(config: Config, signal?: AbortSignal, limitMs = LIMIT_MS): Step {
  const { upstreamDir, upstreamSource } = config;
  const found = ready(upstreamDir, { upstream: upstreamDir });
  return {
    name: 'upstream',
    async check() {
      if (await isCheckout(upstreamDir)) {
        if (upstreamSource !== null) {
          await requireCommit(upstreamDir, upstreamSource.commit);
          await requireInside(upstreamDir);
        }
        return found;
      }
      if (upstreamSource !== null) return missing(`commit ${upstreamSource.commit}`, 100e6);
      throw new SetupError(
        `LOTUS_UPSTREAM_DIR ${upstreamDir} has no pipeline.py: point it at a checkout of` +
          ' EnVision-Research/Lotus, or unset it to have one fetched.',
      );
    },
    async make(_made, report) {
      if (upstreamSource === null) throw new Error('an own checkout is never made');
      const source = withoutCredentials(upstreamSource.url);
      report(`fetching ${upstreamSource.commit} from ${source}`);
      await mkdir(path.dirname(upstreamDir), { recursive: true });
      await buildAside(upstreamDir, (dir) =>
        fetchCommit({ ...upstreamSource, dir, source, signal, limitMs }),
      );
      if (await isCheckout(upstreamDir)) return found;
      throw new SetupError(`${upstreamDir} is none of upstream's checkouts: move it away.`);
    },
  };
}

async function isCheckout(dir: string): Promise<boolean> {
  const file = await stat(path.join(dir, 'pipeline.py')).catch(() => null);
  return file?.isFile() ?? false;
}

/** A checkout of ours has no branch: its HEAD is the commit. One without a repository is somebody's copy. */
async function requireCommit(dir: string, commit: string): Promise<void> {
  const head = await readFile(path.join(dir, '.git', 'HEAD'), 'utf8').catch(() => commit);
  if (head.trim() === commit) return;
  throw new SetupError(
    `${dir} is at ${head.trim()}, and not at the commit that it is named by: move it away, and it is fetched` +
      ' again; or set LOTUS_UPSTREAM_DIR to a checkout of your own.',
  );
}

/** What is imported from a checkout of ours lies in it: a link out of it is none of git's. */
async function requireInside(dir: string): Promise<void> {
  for (const name of ['pipeline.py', 'utils']) {
    const file = path.join(dir, name);
    if (!(await exists(file)) || (await liesIn(path.dirname(dir), file))) continue;
    throw new SetupError(
      `${file} leads to ${await realpath(file)}, out of ${path.dirname(dir)}: move ${dir} away, and it is fetched` +
        ' again; or set LOTUS_UPSTREAM_DIR to a checkout of your own.',
    );
  }
}

interface FetchOptions {
  dir: string;
  url: string;
  /** The URL as it may be shown. */
  source: string;
  commit: string;
  signal: AbortSignal | undefined;
  limitMs: number;
}

async function fetchCommit(options: FetchOptions): Promise<void> {
  const { dir, url, commit, source } = options;
  await requireGit(options);
  await runGit(options, ['init', '--quiet', '--template='], AS_SHIPPED);
  await runGit(options, [...FETCH, ...(await placeOf(url)), commit]);
  await runGit(options, ['checkout', '--quiet', '--detach', 'FETCH_HEAD'], AS_SHIPPED);
  const head = await runGit(options, ['rev-parse', 'HEAD'], AS_SHIPPED);
  if (head !== commit) {
    throw new SetupError(`${source} gave commit ${head}, not ${commit}; check LOTUS_UPSTREAM_URL.`);
  }
  if (!(await isCheckout(dir))) {
    throw new SetupError(
      `Commit ${commit} of ${source} has no pipeline.py; it is not upstream's repository. Check` +
        ' LOTUS_UPSTREAM_URL and LOTUS_UPSTREAM_COMMIT.',
    );
  }
}

/** The one call that needs the operator's settings: proxies, certificates, credentials, other addresses. */
const FETCH = ['fetch', '--quiet', '--depth', '1', '--no-tags', '--no-recurse-submodules'];

/** Where from, as git takes it from inside another folder. */
async function placeOf(url: string): Promise<string[]> {
  const isOnThisMachine = /^file:/i.test(url) || (await stat(url).catch(() => null)) !== null;
  if (!isOnThisMachine) return ['--', url];
  // git has a second program read a folder, and that one refuses one of another user's.
  const reader = "git -c safe.directory='*' upload-pack";
  return ['--upload-pack', reader, '--', /^file:/i.test(url) ? url : path.resolve(url)];
}

async function requireGit({ signal, limitMs }: FetchOptions): Promise<void> {
  const { failed, code, stderr, shortMessage } = await runProgram('git', ['--version'], {
    signal,
    timeout: limitMs,
  });
  if (!failed) return;
  const why = code === 'ENOENT' ? '' : ` (${stderr.trim() || shortMessage})`;
  throw new SetupError(
    `git is needed to fetch upstream${why}: install it, or set LOTUS_UPSTREAM_DIR.`,
  );
}

async function runGit(
  { dir, source, signal, limitMs }: FetchOptions,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): Promise<string> {
  const ended = await runProgram('git', [...SETTINGS, ...args], {
    cwd: dir,
    signal,
    timeout: limitMs,
    env: { ...ALONE, ...env },
    endsWithUs: true,
  });
  if (!ended.failed) return ended.stdout.trim();
  throw new SetupError(
    `Cannot get upstream from ${source}: ${reasonOf(ended)}\nCheck the network,` +
      ' LOTUS_UPSTREAM_URL and LOTUS_UPSTREAM_COMMIT, or set LOTUS_UPSTREAM_DIR to a checkout.',
  );
}

function reasonOf({ code, stderr, shortMessage }: Ended): string {
  return code === 'ETIMEDOUT' ? shortMessage : stderr.trim() || shortMessage;
}

const SETTINGS = Object.entries({
  // The volume's files may be another user's, by a container's rights or a network file system's.
  'safe.directory': '*',
  'http.lowSpeedLimit': LOW_SPEED.bytesPerSecond,
  'http.lowSpeedTime': LOW_SPEED.seconds,
  // The only one in which every server gives a commit by its name.
  'protocol.version': 2,
  // Nothing of the operator's runs in what we fetch, and nothing goes on when git has ended.
  'core.hooksPath': '/dev/null',
  'core.attributesFile': '/dev/null',
  'core.fsmonitor': 'false',
  'gc.auto': 0,
  'maintenance.auto': 'false',
}).flatMap(([name, value]) => ['-c', `${name}=${value}`]);

/** Nobody is there to answer; and inside a git hook these point at the caller's own repository, not ours to touch. */
const ALONE = {
  GIT_TERMINAL_PROMPT: '0',
  GIT_DIR: undefined,
  GIT_WORK_TREE: undefined,
  GIT_INDEX_FILE: undefined,
  GIT_COMMON_DIR: undefined,
  GIT_OBJECT_DIRECTORY: undefined,
  GIT_ALTERNATE_OBJECT_DIRECTORIES: undefined,
  GIT_SHALLOW_FILE: undefined,
  GIT_NAMESPACE: undefined,
  GIT_TEMPLATE_DIR: undefined,
};

/** Without any settings of the machine's or the operator's: filters (LFS), line endings, submodules. */
const AS_SHIPPED = {
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_COUNT: undefined,
  GIT_CONFIG_PARAMETERS: undefined,
  GIT_ATTR_NOSYSTEM: '1',
};
