import type { Config, Environment } from '../config.ts';
import type { Log } from '../log.ts';
import { runProgram } from '../provision/program.ts';

/** A driver that is stuck answers nobody, ever; one that is well does within a second or two. */
const DRIVER_LIMIT_MS = 20_000;

/**
 * What `CUDA_VISIBLE_DEVICES` is for each process: one card each. Null leaves it as it is, for one process with whatever
 * there is.
 */
export type Devices = readonly [string | null, ...(string | null)[]];

interface ListOptions {
  readonly log: Log;
  readonly signal?: AbortSignal | undefined;
  /** The driver's program; for tests. */
  readonly nvidiaSmi?: string;
  readonly driverLimitMs?: number;
}

/** The cards that there are to run on: what `CUDA_VISIBLE_DEVICES` names, else all that the driver does. */
export async function listDevices(
  { device }: Pick<Config, 'device'>,
  { CUDA_VISIBLE_DEVICES: visible }: Environment,
  { log, signal, nvidiaSmi = 'nvidia-smi', driverLimitMs = DRIVER_LIMIT_MS }: ListOptions,
): Promise<Devices> {
  if (device === 'cpu') return [null];
  if (visible !== undefined) return oneEach(namedIn(visible));
  const asked = await runProgram(nvidiaSmi, ['-L'], { timeout: driverLimitMs, signal });
  if (!asked.failed) return oneEach(listedIn(asked.stdout));
  if (asked.code !== 'ENOENT') {
    const error = asked.stderr.trim() || asked.shortMessage;
    log.warn({ error }, 'nvidia-smi does not tell which GPUs there are: one process is started');
  }
  return [null];
}

/** One alone is whatever torch takes first: nothing is set that need not be. */
function oneEach(names: readonly string[]): Devices {
  const [first, ...more] = new Set(names);
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
  return text.split(/^(?=GPU )/m).flatMap((card) => {
    const [whole, ...parts] = Array.from(
      card.matchAll(/\(UUID: ((?:GPU|MIG)-[\w/-]+)\)/g),
      ([, name]) => name ?? '',
    );
    if (parts.length > 0) return parts;
    return whole === undefined ? [] : [whole];
  });
}
