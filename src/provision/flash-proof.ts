import path from 'node:path';
import { z } from 'zod';
import { PYTHON_ROOT } from '../app.ts';
import type { Config, Environment } from '../config.ts';
import { childEnvironment } from '../environment.ts';
import { jsonOfLastLine } from './last-line.ts';
import { runProgram } from './program.ts';

/** The imports of torch and diffusers from a volume that nobody has read yet take minutes. */
const LIMIT_MS = 300_000;

interface ProofOptions {
  config: Config;
  env: Environment;
  python: string;
  /** What flash-attn is installed in. */
  folder: string;
  signal?: AbortSignal | undefined;
}

/** `python/lotus_worker/flash_proof.py` prints it. */
const proofSchema = z.object({
  works: z.boolean(),
  /** Whether it was run and compared. */
  compared: z.boolean(),
  what: z.string(),
});
type Proof = z.infer<typeof proofSchema>;

/** Import flash-attn as the model process will, and run it against torch's own attention where there is CUDA. */
export async function proveFlashAttn(options: ProofOptions): Promise<Proof> {
  const { config, env, python, folder, signal } = options;
  const { failed, stderr, stdout, shortMessage } = await runProgram(
    python,
    ['-P', '-m', 'lotus_worker.flash_proof'],
    {
      env: {
        ...childEnvironment(config, env),
        PYTHONPATH: [PYTHON_ROOT, folder].join(path.delimiter),
      },
      onlyThisEnv: true,
      endsWithUs: true,
      timeout: LIMIT_MS,
      signal,
    },
  );
  const proof = failed ? null : proofSchema.safeParse(jsonOfLastLine(stdout));
  if (proof?.success) return proof.data;
  const what = stderr.trim().split('\n').at(-1) || shortMessage || 'it says nothing';
  return { works: false, compared: false, what };
}
