import path from 'node:path';
import { FORMATS } from '../job/formats.ts';
import { owedNames, removeAbandoned } from '../spool/survey.ts';
import { clockOf } from '../storage/clock.ts';
import { outputFolder } from '../storage/folders.ts';
import { sweepFolder } from '../storage/retention.ts';
import { pause } from '../time/awake.ts';
import { orLeave } from './leave.ts';
import type { Service } from './serve.ts';

const EXTENSIONS = Object.values(FORMATS).map(({ suffix }) => path.extname(suffix).slice(1));

/** Often enough that a folder does not grow far beyond its limits, and seldom enough that nobody notices. */
const EVERY_MS = 5 * 60_000;

/** Has the folder of pictures swept while something is done: at once, and again and again where it has limits. */
export async function withSweptOutputs<T>(service: Service, work: () => Promise<T>): Promise<T> {
  const over = new AbortController();
  const sweeping = keepSweeping(service, over.signal);
  try {
    return await work();
  } finally {
    over.abort();
    await orLeave(sweeping, 'the sweep of the outputs', service);
  }
}

async function keepSweeping(service: Service, signal: AbortSignal): Promise<void> {
  const { maxAgeMs, maxBytes } = service.config.outputs;
  const hasLimits = maxAgeMs !== null || maxBytes !== null;
  do {
    await sweepOrTell(service, signal);
    await pause(EVERY_MS, signal);
  } while (hasLimits && !signal.aborted);
}

/** One line when something was removed. What cannot be swept is served all the same. */
async function sweepOrTell({ config, log }: Service, signal: AbortSignal): Promise<void> {
  try {
    const dir = await outputFolder(config.workspace);
    const records = await removeAbandoned(dir, await clockOf(dir));
    const stays = () => owedNames(dir);
    const retention = { limits: config.outputs, extensions: EXTENSIONS, stays };
    const swept = { ...(await sweepFolder(dir, retention, signal)), records };
    const { files, halfWritten } = swept;
    if (files + halfWritten + records > 0) log.info(swept, 'removed old outputs');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EROFS') return; // and so nothing comes to it
    log.warn({ err: error }, 'the outputs cannot be swept');
  }
}
