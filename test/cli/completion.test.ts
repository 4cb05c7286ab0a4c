import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa, execaSync } from 'execa';
import { describe, expect, it } from 'vitest';
import { buildProgram } from '../../src/cli/program.ts';
import { OUTPUT_FORMATS } from '../../src/job/schema.ts';
import { RESAMPLE_METHODS } from '../../src/worker/protocol.ts';
import { start, temporaryFolder } from './cli.ts';

const has = (shell: string) => !execaSync(shell, ['-c', 'true'], { reject: false }).failed;

/** A folder with the script for a shell in it, and something to complete. */
async function folderFor(shell: string): Promise<string> {
  const dir = await temporaryFolder();
  const { exitCode, stdout } = await start(['completion', shell]);
  expect(exitCode).toBe(0);
  await writeFile(path.join(dir, 'script'), `${stdout}\n`);
  await writeFile(path.join(dir, 'photo.jpg'), '');
  await mkdir(path.join(dir, 'photos'));
  return dir;
}

const program = buildProgram(() => {});
const commands = program.createHelp().visibleCommands(program);
const flagsOf = (name: string): string[] =>
  commands
    .filter((command) => command.name() === name)
    .flatMap((command) => command.createHelp().visibleOptions(command))
    .flatMap(({ short, long }) => [short ?? '', long ?? ''])
    .filter((flag) => flag !== '');

/** What bash offers for a command line, whose words it has taken apart at `=`. */
async function inBash(dir: string, ...words: string[]): Promise<string[]> {
  const script = `
    source ./script 2>&1
    COMP_WORDS=(lotus-worker "$@") COMP_CWORD=$#
    $(complete -p lotus-worker | sed 's/.*-F \\([^ ]*\\).*/\\1/') 2>&1
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = await execa('bash', ['-u', '-c', script, 'bash', ...words], { cwd: dir });
  return stdout.split('\n').filter((line) => line !== '');
}

describe('completion in bash', () => {
  it('offers all commands and flags that help has, and what the flags take', async () => {
    const dir = await folderFor('bash');
    expect(await inBash(dir, '')).toEqual(
      expect.arrayContaining(commands.map((command) => command.name())),
    );
    for (const command of commands.filter((one) => one.name() !== 'help')) {
      expect(await inBash(dir, command.name(), '-')).toEqual(flagsOf(command.name()));
    }
    expect(await inBash(dir, 'infer', 'photo.jpg', '--re')).toEqual(['--resample-method']);
    const method = ['infer', '--resample-method'];
    expect(await inBash(dir, ...method, '')).toEqual([...RESAMPLE_METHODS]);
    expect(await inBash(dir, ...method, '=')).toEqual([...RESAMPLE_METHODS]);
    expect(await inBash(dir, ...method, '=', 'near')).toEqual(['nearest']);
    expect(await inBash(dir, 'infer', '--format', '')).toEqual([...OUTPUT_FORMATS]);
    expect(await inBash(dir, 'infer', '--format', 'npy,pn')).toContain('npy,png');
    expect(await inBash(dir, 'completion', '')).toEqual(['bash', 'zsh', 'fish']);
    expect(await inBash(dir, 'help', 'war')).toEqual(['warmup']);
  });

  it('leaves paths to bash, and runs nothing of what was typed', async () => {
    const dir = await folderFor('bash');
    expect(await inBash(dir, 'infer', 'ph')).toEqual([]);
    expect(await inBash(dir, 'infer', '--output', 'ph')).toEqual([]);
    const typed = '$(touch run),';
    expect(await inBash(dir, 'infer', '--format', typed)).toContain(`${typed}png`);
    expect(await inBash(dir, 'infer', '$(touch run)')).toEqual([]);
    const { stdout } = await execa('ls', { cwd: dir });
    expect(stdout.split('\n')).toEqual(['photo.jpg', 'photos', 'script']);
  });
});

describe.runIf(has('fish'))('completion in fish', () => {
  it('offers commands, flags, what they take, and paths where those are meant', async () => {
    const dir = await folderFor('fish');
    const inFish = async (line: string) => {
      const script = 'source script; complete -C "lotus-worker $argv[1]"';
      const { stdout } = await execa('fish', ['-c', script, line], { cwd: dir });
      return stdout.split('\n').map((offer) => offer.split('\t')[0]);
    };
    expect(await inFish('')).toEqual(
      expect.arrayContaining(commands.map((command) => command.name())),
    );
    expect(await inFish('infer --re')).toEqual(['--resample-method']);
    expect((await inFish('infer --resample-method ')).toSorted()).toEqual(
      [...RESAMPLE_METHODS].toSorted(),
    );
    expect(await inFish('infer --format npy,')).toContain('npy,png');
    expect((await inFish('infer ph')).toSorted()).toEqual(['photo.jpg', 'photos/']);
    expect(await inFish('infer --output ph')).toEqual(['photos/']);
    expect(await inFish('warmup ph')).toEqual(['']);
  });
});

describe.runIf(has('zsh'))('completion in zsh', () => {
  it('offers commands, flags, what they take, and paths where those are meant', async () => {
    const dir = await folderFor('zsh');
    // Typed into a zsh on a terminal of its own, where ^G writes down what the line is by then.
    const script = `
      zmodload zsh/zpty
      zpty inner zsh -f -i
      zpty -w inner 'show() { print -r -- "$BUFFER" >> lines; BUFFER= }; zle -N show; bindkey "^G" show'
      zpty -w inner 'autoload -U compinit; compinit -u -D; source ./script; print rea""dy'
      zpty -r -m inner seen '*ready*'
      for line in "$@"; do zpty -n -w inner "$line"$'\\t\\a'; done
      zpty -w inner exit
      while zpty -r inner > /dev/null; do :; done
      cat lines`;
    const typed = [
      'lotus-worker warm',
      'lotus-worker infer --resa',
      'lotus-worker infer --resample-method nea',
      'lotus-worker infer photo.',
      'lotus-worker infer --output photo',
    ];
    const { stdout } = await execa('zsh', ['-f', '-c', script, 'zsh', ...typed], {
      cwd: dir,
    });
    expect(stdout.split('\n').map((line) => line.trimEnd())).toEqual([
      'lotus-worker warmup',
      'lotus-worker infer --resample-method=',
      'lotus-worker infer --resample-method nearest',
      'lotus-worker infer photo.jpg',
      'lotus-worker infer --output photos/',
    ]);
  });
});
