import type { Flag, Tree, TreeCommand, Value } from './tree.ts';

/** A script for fish 3. */
export function fishScript({ name, flags, commands }: Tree): string {
  const lines = [
    '-f',
    ...flags.map((flag) => `-n __fish_use_subcommand${flagPart(flag)}`),
    ...commands.flatMap(branch),
  ];
  return `# ${name} in fish: ${name} completion fish | source
${lines.map((line) => `complete -c ${name} ${line}\n`).join('')}`;
}

function branch({ name, description, flags, argument }: TreeCommand): string[] {
  const within = `-n '__fish_seen_subcommand_from ${name}'`;
  return [
    `-n __fish_use_subcommand -a ${name} -d ${quote(description)}`,
    ...flags.map((flag) => `${within}${flagPart(flag)}`),
    ...(argument && argument.kind !== 'text' ? [`${within}${valuePart(argument)}`] : []),
  ];
}

function flagPart({ names, description, value }: Flag): string {
  const named = names.map((name) =>
    name.startsWith('--') ? ` -l ${name.slice(2)}` : ` -s ${name.slice(1)}`,
  );
  return `${named.join('')} -d ${quote(description)}${value ? behind(value) : ''}`;
}

/** Nothing but it, which without -x would be files too. */
function behind(value: Value): string {
  return `${value.kind === 'files' ? ' -r' : ' -x'}${valuePart(value)}`;
}

function valuePart({ kind, words }: Value): string {
  if (kind === 'files') return ' -F';
  if (kind === 'folders') return " -a '(__fish_complete_directories)'";
  if (kind === 'list') return ` -a '(__fish_append , ${words.join(' ')})'`;
  return kind === 'words' ? ` -a ${quote(words.join(' '))}` : '';
}

function quote(text: string): string {
  return `'${text.replaceAll(/[\\']/g, '\\$&')}'`;
}
