/** Whether what a terminal gets may have colours. NO_COLOR is for everybody: https://no-color.org. */
export function allowsColour({ NO_COLOR, TERM }: Readonly<NodeJS.ProcessEnv>): boolean {
  return !NO_COLOR && TERM !== 'dumb';
}
