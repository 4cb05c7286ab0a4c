import type { Flag, Tree, TreeCommand, Value } from './tree.ts';

/** A script for bash 3.2 and later, which needs no package of completions. */
export function bashScript({ name, flags, commands }: Tree): string {
  const own = `_${name.replaceAll('-', '_')}`;
  return `# ${name} in bash: source <(${name} completion bash)
${own}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]}
  local command='' words='' list='' before='' i
  # Bash takes --flag=value apart.
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $prev == '=' ]]; then
    prev=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; i += 1)); do
    if [[ \${COMP_WORDS[i]} != -* ]]; then
      command=\${COMP_WORDS[i]}
      break
    fi
  done
  COMPREPLY=()
  case $command in
  '')
    words='${[...commands.map((command) => command.name), ...namesOf(flags)].join(' ')}'
    ;;
${commands.map(branch).join('\n')}
  esac
  if [[ -n $list && $cur == *,* ]]; then
    before=\${cur%,*},
  fi
  # Nothing at all is for bash's own completion of file names. What was typed is not among the words, for those are
  # expanded.
  COMPREPLY=($(compgen -W "$words" -- "\${cur#"$before"}"))
  COMPREPLY=("\${COMPREPLY[@]/#/$before}")
}
complete -o default -F ${own} ${name}
`;
}

function branch({ name, flags, argument }: TreeCommand): string {
  const valued = flags.flatMap(({ names, value }) =>
    value ? [`    ${names.join('|')}) ${offer(value)} ;;`] : [],
  );
  const rest = argument ? offer(argument) : 'compopt +o default 2>/dev/null';
  return `  ${name})
    case $prev in
${[...valued, `    *) if [[ $cur == -* ]]; then words='${namesOf(flags).join(' ')}'; else ${rest}; fi ;;`].join('\n')}
    esac
    ;;`;
}

function offer({ kind, words }: Value): string {
  if (kind === 'words') return `words='${words.join(' ')}'`;
  if (kind === 'list') return `words='${words.join(' ')}' list=yes`;
  // Bash 3.2 has no compopt, and offers files.
  if (kind === 'text') return 'compopt +o default 2>/dev/null';
  return ':';
}

function namesOf(flags: readonly Flag[]): string[] {
  return flags.flatMap(({ names }) => names);
}
