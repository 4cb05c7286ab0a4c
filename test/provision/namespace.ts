import { once } from 'node:events';
import { execa, execaSync } from 'execa';
import { onTestFinished } from 'vitest';

/** Why a process cannot have mounts of its own here; else null. */
export function whyNoNamespace(): string | null {
  const { failed, stderr, shortMessage } = execaSync('unshare', ['-mn', 'true'], { reject: false });
  return failed ? `cannot mount here: ${stderr || shortMessage}` : null;
}

/**
 * Mounts of its own for the time of a test.
 *
 * @param script mounts something; it has the workspace's path as WORKSPACE.
 * @returns the command that runs something there, and where its files are seen from here.
 */
export async function namespace(
  script: string,
  workspace: string,
): Promise<{ within: string[]; seen: string }> {
  const shell = `${script}\necho mounted; exec cat`;
  const keeper = execa('unshare', ['-m', 'sh', '-ec', shell], {
    reject: false,
    stdin: 'pipe',
    env: { WORKSPACE: workspace },
  });
  onTestFinished(async () => {
    keeper.stdin.end();
    await keeper;
  });
  await once(keeper.stdout, 'data'); // it says that it has mounted
  return { within: ['nsenter', '-m', '-t', `${keeper.pid}`], seen: `/proc/${keeper.pid}/root` };
}
