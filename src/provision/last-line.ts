/** What a program of ours has printed as its last line of JSON, whatever a library printed before it; null when that is none. */
export function jsonOfLastLine(stdout: string): unknown {
  try {
    return JSON.parse(stdout.trim().split('\n').at(-1) ?? '');
  } catch {
    return null;
  }
}
