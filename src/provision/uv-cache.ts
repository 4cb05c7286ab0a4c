import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Config, Environment } from '../config.ts';
import { isCancelled, messageOf } from '../errors.ts';
import { PYTHON_MINOR } from './interpreter.ts';
import type { PackageSet } from './profile.ts';
import type { Report } from './step.ts';
import { requireUv, runUv } from './uv.ts';

interface CleanOptions {
  config: Config;
  env: Environment;
  report: Report;
  signal?: AbortSignal | undefined;
}

/** The `name==version` of every package in some venvs, as a lock names them. */
export async function distributionsOf(
  venvs: string,
  names: readonly string[],
): Promise<Set<string>> {
  const found = new Set<string>();
  for (const name of names) {
    const packages = path.join(venvs, name, 'lib', `python${PYTHON_MINOR}`, 'site-packages');
    const files = await readdir(packages).catch(() => []); // none of ours
    for (const file of files.filter((one) => one.endsWith('.dist-info'))) {
      const [distribution = '', version = ''] = path.basename(file, '.dist-info').split('-');
      // As the packaging specification has it: the folder's name has no hyphens, and perhaps capitals.
      found.add(`${distribution.replaceAll(/[-_.]+/g, '-').toLowerCase()}==${version}`);
    }
  }
  return found;
}

/**
 * Clean uv's cache of the packages that venvs had which are gone, and that no other has nor is to get: what no venv
 * has a link to takes room for nothing.
 */
export async function cleanCacheAfter(
  gone: ReadonlySet<string>,
  venvs: string,
  options: CleanOptions & { set: PackageSet },
): Promise<void> {
  const lock = await readFile(options.set.lock, 'utf8');
  const wanted = lock.match(/^[a-z0-9-]+==[^\s;]+/gm) ?? [];
  const used = new Set([...(await distributionsOf(venvs, await readdir(venvs))), ...wanted]);
  const unused = [...gone].filter((one) => !used.has(one));
  if (unused.length > 0)
    await cleanCache(
      unused.map((one) => one.split('==')[0] ?? one),
      options,
    );
}

/** Clean uv's cache of some packages, or of all: the workspace's, not one of the operator's own. */
export async function cleanCache(
  packages: readonly string[],
  { config, env, signal, report }: CleanOptions,
): Promise<void> {
  if (!config.uvCache.startsWith(`${config.workspace}${path.sep}`)) return;
  report(`clearing uv's cache of ${packages.length || 'all'} packages`);
  try {
    const uv = await requireUv(config, signal);
    const { failed, stderr, shortMessage } = await runUv(uv, ['cache', 'clean', ...packages], {
      config,
      env,
      signal,
    });
    if (failed) throw new Error(stderr.trim() || shortMessage);
  } catch (error) {
    if (isCancelled(error)) throw error;
    report(`it could not be cleared, and only takes room: ${messageOf(error)}`);
  }
}
