import type { Flag, Tree, TreeCommand, Value } from './tree.ts';

/** A script for zsh: to be sourced behind compinit, or to lie on the fpath as `_<name>`. */
export function zshScript({ name, flags, commands }: Tree): string {
  const own = `_${name}`;
  const described = commands.map(
    (command) => `      ${quote(`${command.name}:${command.description}`)}`,
  );
  return `#compdef ${name}
# ${name} in zsh: source <(${name} completion zsh)
${own}() {
  local curcontext=$curcontext state line
  local -a commands
  _arguments -C \\
${flags.map(flagLine).join('')}    '1: :->command' \\
    '*:: :->rest'
  case $state in
  command)
    commands=(
${described.join('\n')}
    )
    _describe -t commands command commands
    ;;
  rest)
    case $words[1] in
${commands.map(branch).join('\n')}
    esac
    ;;
  esac
}
if [[ $funcstack[1] == ${own} ]]; then
  ${own} "$@"
else
  compdef ${own} ${name}
fi
`;
}

function branch({ name, flags, argument }: TreeCommand): string {
  const last = argument ? `*:${argument.name}:${action(argument)}` : '';
  const lines = [...flags.map(flagLine), ...(last ? [`    ${quote(last)} \\\n`] : [])].join('');
  return `    ${name})
      _arguments \\
${lines.replaceAll(/^/gm, '    ').trimEnd().replace(/ \\$/, '')}
      ;;`;
}

function flagLine({ names, description, value }: Flag): string {
  const text = `[${escaped(description)}]${value ? `:${value.name}:${action(value)}` : ''}`;
  const others = names.length > 1 ? `(${names.join(' ')})` : '';
  return names
    .map((name) => {
      const takes = value && name.startsWith('--') ? '=' : '';
      return `    ${quote(`${others}${name}${takes}${text}`)} \\\n`;
    })
    .join('');
}

function action({ kind, name, words }: Value): string {
  if (kind === 'files') return '_files';
  if (kind === 'folders') return '_files -/';
  if (kind === 'words') return `(${words.join(' ')})`;
  if (kind === 'list') return `_values -s , ${name} ${words.join(' ')}`;
  return ' ';
}

function escaped(text: string): string {
  return text.replaceAll(/[\\[\]:]/g, '\\$&');
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
