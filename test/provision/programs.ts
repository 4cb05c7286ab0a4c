import path from 'node:path';
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { onTestFinished } from 'vitest';

const FOLDER = path.join(import.meta.dirname, '..', 'fixtures', 'provision');

/** A small program of `test/fixtures/provision` that runs, says lines, and is told what to do. */
export interface Talker {
  readonly pid: number;
  /** What it has said so far. */
  readonly lines: readonly string[];
  /** Wait for a line that it says, or has said. */
  line(wanted: RegExp | string): Promise<string>;
  tell(order: string): void;
  kill(signal: NodeJS.Signals): void;
  /** Wait for its end; its lines. */
  ended(): Promise<readonly string[]>;
}

/** Start it; it is killed when the test ends. */
export function talkTo(name: string, ...args: readonly string[]): Talker {
  const child = execa(process.execPath, [path.join(FOLDER, `${name}.ts`), ...args], {
    stdin: 'pipe',
    stderr: 'inherit',
    reject: false,
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await child;
  });
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    for (const look of waiting) look();
  });
  return {
    pid: child.pid ?? 0,
    lines,
    line: (wanted) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = lines.find((line) =>
            typeof wanted === 'string' ? line === wanted : wanted.test(line),
          );
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
        // Its last lines may come after its end.
        void child.then(() =>
          setImmediate(() => reject(new Error(`${wanted} was not said: ${lines.join('\n')}`))),
        );
      }),
    tell: (order) => child.stdin.write(`${order}\n`),
    kill: (signal) => child.kill(signal),
    ended: async () => {
      await child;
      return lines;
    },
  };
}
