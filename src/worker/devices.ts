import { execa } from 'execa';
import type { Config, Environment } from '../config.ts';
import type { Log } from '../log.ts';

/** A driver that is stuck answers nobody, ever; one that is well does within a second or two. */
const DRIVER_LIMIT_MS = 20_000;

/**
 * What `CUDA_VISIBLE_DEVICES` is for each process: one card each. Null leaves it as it is, for one process with whatever
 * there is.
 */
export type Devices = readonly [string | null, ...(string | null)[]];

/**
 * The cards that there are to run on: what `CUDA_VISIBLE_DEVICES` names, else all that the driver does.
 *
 * @param nvidiaSmi the driver's program; for tests.
 */
export async function listDevices(
  { device }: Pick<Config, 'device'>,
  { CUDA_VISIBLE_DEVICES: visible, PATH }: Environment,
  log: Log,
  nvidiaSmi = 'nvidia-smi',
): Promise<Devices> {
  if (device === 'cpu') return [null];
  if (visible !== undefined) return oneEach(namedIn(visible));
  const { failed, stdout, stderr, code, shortMessage } = await execa(nvidiaSmi, ['-L'], {
    env: { PATH },
    reject: false,
    timeout: DRIVER_LIMIT_MS,
    stdin: 'ignore',
  });
  if (!failed) return oneEach(listedIn(stdout));
  if (code !== 'ENOENT') {
    log.warn(
      { err: stderr.trim() || shortMessage },
      'nvidia-smi does not tell which GPUs there are',
    );
  }
  return [null];
}

/** One alone is whatever torch takes first: nothing is set that need not be. */
function oneEach([first, ...more]: readonly string[]): Devices {
  return first === undefined || more.length === 0 ? [null] : [first, ...more];
}

/** As CUDA reads it: what comes behind an index that is none is not visible. */
function namedIn(visible: string): string[] {
  const names = visible.split(',').map((name) => name.trim());
  const end = names.findIndex((name) => name === '' || name.startsWith('-'));
  return end < 0 ? names : names.slice(0, end);
}

/**
 * The identifiers in `nvidia-smi -L`. Of a card that is partitioned only its parts can be used.
 *
 *     GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5d1c…)
 *       MIG 3g.40gb     Device  0: (UUID: MIG-8f2a…)
 */
function listedIn(text: string): string[] {
  const names = Array.from(
    text.matchAll(/\(UUID: ((?:GPU|MIG)-[\w/-]+)\)/g),
    ([, name]) => name ?? '',
  );
  const parts = names.filter((name) => name.startsWith('MIG-'));
  return parts.length > 0 ? parts : names;
}
