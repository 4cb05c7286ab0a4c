import type { Command } from 'commander';
import { bashScript } from './bash.ts';
import { fishScript } from './fish.ts';
import { type Tree, treeOf } from './tree.ts';
import { zshScript } from './zsh.ts';

const SCRIPTS: Readonly<Record<string, (tree: Tree) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** `lotus-worker completion`: a script that completes a program's command line, made of its own commands and flags. */
export function addCompletion(program: Command): void {
  const shell = program.createArgument('<shell>', 'the shell').choices(Object.keys(SCRIPTS));
  program
    .command('completion')
    .description('Print a script that completes command lines in a shell.')
    .addArgument(shell)
    .addHelpText(
      'after',
      `
bash:  source <(lotus-worker completion bash)        in ~/.bashrc
zsh:   source <(lotus-worker completion zsh)         in ~/.zshrc, behind compinit
fish:  lotus-worker completion fish | source         in ~/.config/fish/config.fish`,
    )
    .action((name: string) => {
      process.stdout.write(SCRIPTS[name]?.(treeOf(program)) ?? '');
    });
}
