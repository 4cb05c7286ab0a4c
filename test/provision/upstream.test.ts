import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { SetupError } from '../../src/errors.ts';
import { makeSteps } from '../../src/provision/step.ts';
import { upstreamStep } from '../../src/provision/upstream.ts';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'upstream-test-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** A repository with two commits of one file; their hashes, older first. */
async function repository(file = 'pipeline.py'): Promise<{ url: string; commits: string[] }> {
  const repo = path.join(dir, 'repository');
  await mkdir(repo);
  const identity = ['-c', 'user.name=test', '-c', 'user.email=test@example.org'];
  const git = (...args: string[]) => execa('git', [...identity, ...args], { cwd: repo });
  await git('init', '--quiet');
  const commits: string[] = [];
  for (const text of ['one', 'two']) {
    await writeFile(path.join(repo, file), `# ${text}\n`);
    await git('add', '.');
    await git('commit', '--quiet', '--message', text);
    commits.push((await git('rev-parse', 'HEAD')).stdout);
  }
  return { url: pathToFileURL(repo).href, commits };
}

function provide(settings: Record<string, string>) {
  const config = readConfig({ WORKSPACE: path.join(dir, 'workspace'), ...settings });
  return makeSteps([upstreamStep(config)], {}).then(({ outcomes: [outcome] }) => ({
    config,
    outcome,
  }));
}

describe('the upstream step', () => {
  it('fetches the commit that was asked for, not the newest', async () => {
    const { url, commits } = await repository();
    const { config, outcome } = await provide({
      LOTUS_UPSTREAM_URL: url,
      LOTUS_UPSTREAM_COMMIT: commits[0] ?? '',
    });
    expect(outcome?.state).toBe('made');
    expect(await readFile(path.join(config.upstreamDir, 'pipeline.py'), 'utf8')).toBe('# one\n');
  });

  it('has nothing to do the second time, and needs no network for it', async () => {
    const { url, commits } = await repository();
    const settings = { LOTUS_UPSTREAM_URL: url, LOTUS_UPSTREAM_COMMIT: commits[1] ?? '' };
    await provide(settings);
    await rm(path.join(dir, 'repository'), { recursive: true });
    expect((await provide(settings)).outcome?.state).toBe('ready');
  });

  it('does not touch the repository of a git hook that it is called in', async () => {
    const { url, commits } = await repository();
    const theirs = path.join(dir, 'repository', '.git');
    const before = await readFile(path.join(theirs, 'HEAD'), 'utf8');
    process.env.GIT_DIR = theirs;
    onTestFinished(() => {
      delete process.env.GIT_DIR;
    });
    await provide({ LOTUS_UPSTREAM_URL: url, LOTUS_UPSTREAM_COMMIT: commits[0] ?? '' });
    expect(await readFile(path.join(theirs, 'HEAD'), 'utf8')).toBe(before);
  });

  it('keeps the checkouts of two commits beside each other', async () => {
    const { url, commits } = await repository();
    for (const commit of commits) {
      await provide({ LOTUS_UPSTREAM_URL: url, LOTUS_UPSTREAM_COMMIT: commit });
    }
    expect((await readdir(path.join(dir, 'workspace', 'upstream'))).toSorted()).toEqual(
      commits.toSorted(),
    );
  });

  it.each([
    ['a commit that the repository lacks', () => ({ LOTUS_UPSTREAM_COMMIT: 'a'.repeat(40) })],
    ['a repository that is not there', () => ({ LOTUS_UPSTREAM_URL: `file://${dir}/nowhere` })],
  ])('says what to do about %s, and leaves nothing behind', async (_what, wrong) => {
    const { url, commits } = await repository();
    const settings = {
      LOTUS_UPSTREAM_URL: url,
      LOTUS_UPSTREAM_COMMIT: commits[0] ?? '',
      ...wrong(),
    };
    const failure = expect(provide(settings)).rejects;
    await failure.toThrow(SetupError);
    await failure.toThrow('LOTUS_UPSTREAM_COMMIT');
    expect(await readdir(path.join(dir, 'workspace', 'upstream'))).toEqual([]);
  });

  it("refuses a repository that is not upstream's", async () => {
    const { url, commits } = await repository('README.md');
    const settings = { LOTUS_UPSTREAM_URL: url, LOTUS_UPSTREAM_COMMIT: commits[0] ?? '' };
    await expect(provide(settings)).rejects.toThrow('has no pipeline.py');
  });

  it('shows no token that is in the URL', async () => {
    const url = `http://user:planted-token@127.0.0.1:9/lotus.git`; // the discard port: nobody answers
    const error = await provide({ LOTUS_UPSTREAM_URL: url }).then(
      () => expect.unreachable(),
      (reason: Error) => reason,
    );
    expect(error.message).toContain('http://127.0.0.1:9/lotus.git');
    expect(error.message).not.toContain('planted-token');
  });

  it("uses the operator's own checkout as it is", async () => {
    await writeFile(path.join(dir, 'pipeline.py'), '');
    const { outcome } = await provide({ LOTUS_UPSTREAM_DIR: dir });
    expect(outcome).toMatchObject({ state: 'ready', what: dir });
  });

  it("refuses an own checkout without upstream's pipeline", async () => {
    await expect(provide({ LOTUS_UPSTREAM_DIR: dir })).rejects.toThrow(
      `LOTUS_UPSTREAM_DIR ${dir} has no pipeline.py`,
    );
  });
});
