import type { Argument, Command, Option } from 'commander';

/** What a command line is made of, as completion needs it. */
export interface Tree {
  readonly name: string;
  readonly flags: readonly Flag[];
  readonly commands: readonly TreeCommand[];
}

export interface TreeCommand {
  readonly name: string;
  readonly description: string;
  readonly flags: readonly Flag[];
  /** What its first argument, and those like it, can be; null when it takes none. */
  readonly argument: Value | null;
}

export interface Flag {
  /** With their dashes: `-o`, `--output`. */
  readonly names: readonly string[];
  readonly description: string;
  /** What comes behind it; null when nothing has to. */
  readonly value: Value | null;
}

export interface Value {
  /** What it is called in help. */
  readonly name: string;
  /** `list`: words with commas between. */
  readonly kind: 'files' | 'folders' | 'words' | 'list' | 'text';
  /** Of words and lists, those that can be. */
  readonly words: readonly string[];
}

/** By what a value is called in help. */
const PATHS: Readonly<Record<string, 'files' | 'folders'>> = {
  path: 'files',
  dir: 'folders',
  id: 'folders', // a model may be a checkpoint folder
};

/** A program's commands and flags, as its help has them: what is hidden there is left out. */
export function treeOf(program: Command): Tree {
  const commands = program.createHelp().visibleCommands(program);
  const names = commands.map((command) => command.name());
  return {
    name: program.name(),
    flags: flagsOf(program),
    commands: commands.map((command) => ({
      name: command.name(),
      description: command.description(),
      flags: command.name() === 'help' ? [] : flagsOf(command),
      argument: argumentOf(command, names),
    })),
  };
}

function flagsOf(command: Command): Flag[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .map((option) => ({
      names: [option.short, option.long].filter((name) => name !== undefined),
      description: option.description,
      // Where one may be left out, what comes next is anything.
      value: option.required ? takes(metavar(option), option.argChoices, option.name()) : null,
    }));
}

function metavar({ flags }: Option): string {
  return /[<[]([^\]>.]+)/.exec(flags)?.[1] ?? '';
}

function argumentOf(command: Command, commands: readonly string[]): Value | null {
  if (command.name() === 'help') return { name: 'command', kind: 'words', words: commands };
  const [argument]: readonly Argument[] = command.registeredArguments;
  return argument ? takes(argument.name(), argument.argChoices, argument.name()) : null;
}

/** What a value can be, by its name in help. */
function takes(name: string, words: readonly string[] = [], called = name): Value {
  if (words.length === 0) return { name: called, kind: PATHS[name] ?? 'text', words };
  return { name: called, kind: name === 'list' ? 'list' : 'words', words };
}
