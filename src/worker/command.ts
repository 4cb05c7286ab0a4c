import path from 'node:path';
import { PYTHON_ROOT } from '../app.ts';
import type { Config, Environment } from '../config.ts';
import { childEnvironment } from '../environment.ts';
import type { Installation } from '../installation.ts';
import type { WorkerCommand } from './child.ts';

/** The command that starts the Python side: the venv's Python, our package, an environment of its own. */
export function workerCommand(
  config: Config,
  env: Environment,
  { python, flashAttn }: Pick<Installation, 'python' | 'flashAttn'>,
): WorkerCommand {
  const modules = [PYTHON_ROOT, ...(flashAttn === null ? [] : [flashAttn])];
  return {
    file: python,
    // -P: the folder we were started in is not searched for modules.
    args: ['-P', '-m', 'lotus_worker'],
    env: {
      ...childEnvironment(config, env),
      PYTHONPATH: modules.join(path.delimiter),
      TOKENIZERS_PARALLELISM: 'false',
      MPLCONFIGDIR: path.join(config.workspace, 'cache', 'matplotlib'),
      HF_HUB_OFFLINE: '1', // what it needs is on disk
    },
  };
}
