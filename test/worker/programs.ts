import path from 'node:path';
import { pino } from 'pino';
import type { Installation } from '../../src/installation.ts';
import type { Log } from '../../src/log.ts';
import type { WorkerCommand } from '../../src/worker/child.ts';
import type { Patience } from '../../src/worker/process.ts';
import type { LoadRequest, RunRequest } from '../../src/worker/protocol.ts';

/** The command that starts a small program of `test/fixtures/workers` in the Python process's place. */
export function program(name: string, ...args: string[]): WorkerCommand {
  const file = path.join(import.meta.dirname, '..', 'fixtures', 'workers', `${name}.ts`);
  return { file: process.execPath, args: [file, ...args], env: {} };
}

/** For programs that load nothing. */
export const NOWHERE: Installation = {
  python: '/python',
  upstream: '/upstream',
  checkpoint: { folder: '/model', revision: null },
  flashAttn: null,
};

/** For programs that never answer: what is waited for in vain need not be long. */
export const IMPATIENT: Partial<Patience> = { cancel: 100, stop: 100 };

/** A bound that no test is meant to reach. */
export const LONG = { timeoutMs: 60_000 };

export const LOAD: Omit<LoadRequest, 'type' | 'id'> = {
  upstream: '/upstream',
  model: '/model',
  revision: null,
  prediction: 'disparity',
  device: 'cpu',
  dtype: 'float32',
};

export const RUN: Omit<RunRequest, 'type' | 'id'> = {
  image: { path: '/scratch/a.rgb', width: 1, height: 1 },
  options: {
    timestep: 999,
    processing_res: null,
    output_processing_res: false,
    resample_method: 'bilinear',
    upsample_method: 'nearest',
    seed: 0,
    ensemble_size: 1,
  },
  picture: { normalize: 'minmax', invert: false, reverse_color: false },
  planes: { float32: null, uint8: null, uint16: null, color: null, exr: null, uncertainty: null },
};

/** A log that keeps its records. */
export function recordingLog(): { log: Log; records: Record<string, unknown>[] } {
  const records: Record<string, unknown>[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => records.push(JSON.parse(line)) });
  return { log, records };
}
