import { type PlatformOptions, StandInPlatform } from '../test/runpod/platform.ts';
import { ChaosWorker } from './worker.ts';
import { makeWorkspace, type Workspace } from './workspace.ts';

/** How long a worker has to take its first job: Node, Python, torch and the sample model, on a machine that does more. */
export const START_MS = 120_000;

export interface SetUp {
  readonly workspace: Workspace;
  readonly platform: StandInPlatform;
  /** Not started yet. */
  readonly worker: ChaosWorker;
}

/**
 * A worker with a workspace and a platform of its own.
 *
 * @param stack takes them down.
 * @param pingMs between two pings; default: the stand-in's.
 */
export async function setUp(
  stack: AsyncDisposableStack,
  options: PlatformOptions,
  pingMs?: number,
): Promise<SetUp> {
  const workspace = await makeWorkspace();
  stack.defer(() => workspace.remove());
  const platform = await StandInPlatform.start(options);
  stack.defer(() => platform.close());
  const worker = new ChaosWorker({
    workspace,
    env: platform.env(pingMs),
    now: () => platform.now(),
  });
  stack.defer(() => worker.close());
  return { workspace, platform, worker };
}
