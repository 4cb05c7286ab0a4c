import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { SetupError } from '../../src/errors.ts';
import { makeSteps } from '../../src/provision/step.ts';
import { upstreamStep } from '../../src/provision/upstream.ts';
import { interpreter } from '../fixtures/provision/chaos-workspace.ts';

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

/** A server that takes connections and says nothing. */
async function silentServer(): Promise<string> {
  const server = createServer((socket) => socket.on('error', () => {})); // it is hung up on
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const address = server.address();
  return `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
}

/** Set variables of this process, which git gets. */
function withVariables(variables: Record<string, string>): void {
  for (const [name, value] of Object.entries(variables)) {
    const before = process.env[name];
    process.env[name] = value;
    onTestFinished(() => {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    });
  }
}

function provide(settings: Record<string, string>, limitMs?: number) {
  const config = readConfig({ WORKSPACE: path.join(dir, 'workspace'), ...settings });
  return makeSteps([upstreamStep(config, undefined, limitMs)], {}).then(
    ({ outcomes: [outcome] }) => ({ config, outcome }),
  );
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

  it.skipIf(!existsSync('/usr/bin/setpriv'))(
    'has its git killed when we are, having asked whether there is one',
    async () => {
      const { url, commits } = await repository();
      const bin = path.join(dir, 'bin');
      const seen = path.join(dir, 'seen');
      const real = (await execa('sh', ['-c', 'command -v git'])).stdout;
      await mkdir(bin);
      const script = [
        `#!${await interpreter()}`,
        'import ctypes, os, sys',
        'n = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(n)) # PR_GET_PDEATHSIG',
        `open("${seen}", "a").write(f"{n.value}\\n")`,
        `os.execv("${real}", ["git", *sys.argv[1:]])`,
      ];
      await writeFile(path.join(bin, 'git'), `${script.join('\n')}\n`, { mode: 0o755 });
      withVariables({ PATH: `${bin}:${process.env.PATH}` });
      await provide({ LOTUS_UPSTREAM_URL: url, LOTUS_UPSTREAM_COMMIT: commits[0] ?? '' });
      const killed = String(os.constants.signals.SIGKILL);
      expect((await readFile(seen, 'utf8')).trim().split('\n').slice(0, 3)).toEqual(
        ['0', killed, killed], //
      );
    },
  );

  it('says what it needs where there is no git', async () => {
    const empty = path.join(dir, 'empty');
    await mkdir(empty);
    withVariables({ PATH: empty });
    await expect(provide({})).rejects.toThrow('git is needed to fetch upstream: install it, or');
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
    withVariables({ GIT_DIR: theirs });
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

  it.each([
    ['the path of a folder', (repo: string) => repo],
    ['a path from here', (repo: string) => path.relative(process.cwd(), repo)],
    ['the path of its .git', (repo: string) => path.join(repo, '.git')],
  ])('takes %s for a URL', async (_what, urlOf) => {
    const { commits } = await repository();
    const url = urlOf(path.join(dir, 'repository'));
    const [older = ''] = commits;
    const settings = { LOTUS_UPSTREAM_URL: url, LOTUS_UPSTREAM_COMMIT: older };
    expect((await provide(settings)).outcome?.state).toBe('made');
  });

  it.runIf(process.getuid?.() === 0).each(['file://', ''])(
    "fetches from another user's folder: %s/path",
    async (scheme) => {
      const { commits } = await repository();
      const repo = path.join(dir, 'repository');
      await execa('chown', ['-R', '10001', repo]);
      const settings = { LOTUS_UPSTREAM_URL: `${scheme}${repo}` };
      const refused = await execa('git', ['-C', repo, 'status'], { reject: false });
      expect(refused.stderr).toContain('dubious ownership');
      const wanted = { ...settings, LOTUS_UPSTREAM_COMMIT: commits[0] ?? '' };
      expect((await provide(wanted)).outcome?.state).toBe('made');
    },
  );

  it("runs nothing of the operator's git settings in what it fetches, and takes the files as they are", async () => {
    const { url, commits } = await repository();
    const repo = path.join(dir, 'repository');
    const ran = path.join(dir, 'ran');
    const hooks = path.join(dir, 'template', 'hooks');
    await mkdir(hooks, { recursive: true });
    for (const name of ['post-checkout', 'reference-transaction', 'post-index-change']) {
      await writeFile(path.join(hooks, name), `#!/bin/sh\necho hook >>${ran}\n`);
      await chmod(path.join(hooks, name), 0o755);
    }
    await writeFile(path.join(dir, 'attributes'), '*.py filter=theirs\n');
    await writeFile(
      path.join(dir, '.gitconfig'),
      `[core]\nhooksPath = ${hooks}\nautocrlf = true\nattributesFile = ${dir}/attributes\n` +
        `[init]\ntemplateDir = ${path.dirname(hooks)}\n[submodule]\nrecurse = true\n` +
        `[filter "theirs"]\nsmudge = echo filter >>${ran}; cat\nrequired = true\n`,
    );
    withVariables({ HOME: dir, GIT_TEMPLATE_DIR: path.dirname(hooks) });
    const settings = { LOTUS_UPSTREAM_URL: url, LOTUS_UPSTREAM_COMMIT: commits[0] ?? '' };
    // It is a trap that works.
    await execa('git', ['clone', '--quiet', repo, path.join(dir, 'clone')]);
    const lines = (await readFile(ran, 'utf8')).trim().split('\n');
    expect(new Set(lines)).toEqual(new Set(['hook', 'filter']));
    await rm(ran);
    const { config } = await provide(settings);
    expect(existsSync(ran)).toBe(false);
    expect(await readFile(path.join(config.upstreamDir, 'pipeline.py'), 'utf8')).toBe('# one\n');
    expect(existsSync(path.join(config.upstreamDir, '.git', 'hooks'))).toBe(false);
  });

  it("goes by the operator's git settings on its way: another address, say", async () => {
    const { url, commits } = await repository();
    const there = `[url "${url}"]\ninsteadOf = https://example.invalid/lotus.git\n`;
    await writeFile(path.join(dir, '.gitconfig'), there);
    withVariables({ HOME: dir });
    const settings = {
      LOTUS_UPSTREAM_URL: 'https://example.invalid/lotus.git',
      LOTUS_UPSTREAM_COMMIT: commits[0] ?? '',
    };
    expect((await provide(settings)).outcome?.state).toBe('made');
  });

  it('gives up on a server that never answers, says so, and shows no token', async () => {
    const url = `http://user:planted-token@${await silentServer()}/lotus.git`;
    const error = await provide({ LOTUS_UPSTREAM_URL: url }, 300).catch((reason) => reason);
    expect(error).toBeInstanceOf(SetupError);
    expect(error.message).toContain('git did not end within 0.3 s');
    expect(error.message).not.toContain('planted');
    expect(await readdir(path.join(dir, 'workspace', 'upstream'))).toEqual([]);
  });

  it('says where a checkout of ours is when it is at another commit, and does not take it', async () => {
    const { url, commits } = await repository();
    const [older = '', newer = ''] = commits;
    const settings = { LOTUS_UPSTREAM_URL: url, LOTUS_UPSTREAM_COMMIT: older };
    const { config } = await provide(settings);
    const git = ['-C', config.upstreamDir];
    await execa('git', [...git, 'fetch', '--quiet', url, newer]);
    await execa('git', [...git, 'checkout', '--quiet', newer]);
    await expect(provide(settings)).rejects.toThrow(`is at ${newer}, and not at the commit`);
  });

  it('does not take a checkout of ours whose code lies elsewhere', async () => {
    const { url, commits } = await repository();
    const settings = { LOTUS_UPSTREAM_URL: url, LOTUS_UPSTREAM_COMMIT: commits[0] ?? '' };
    const { config } = await provide(settings);
    const [file, elsewhere] = [
      path.join(config.upstreamDir, 'pipeline.py'),
      path.join(dir, 'a.py'),
    ];
    await writeFile(elsewhere, '# planted\n');
    await rm(file);
    await symlink(elsewhere, file);
    await expect(provide(settings)).rejects.toThrow(`${file} leads to ${elsewhere}`);
  });

  it('does not take a folder of something else for its checkout', async () => {
    const { url, commits } = await repository();
    const settings = { LOTUS_UPSTREAM_URL: url, LOTUS_UPSTREAM_COMMIT: commits[0] ?? '' };
    const there = path.join(dir, 'workspace', 'upstream', commits[0] ?? '');
    await mkdir(there, { recursive: true });
    await writeFile(path.join(there, 'notes.txt'), 'mine');
    await expect(provide(settings)).rejects.toThrow('move it away');
    expect(await readFile(path.join(there, 'notes.txt'), 'utf8')).toBe('mine');
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
