import { cancelled } from '../errors.ts';
import type { OutputFormat } from '../job/schema.ts';
import type { Destination } from './batch.ts';

/** As `--output`: standard output. */
export const STANDARD_OUTPUT = '-';

/** The file of one format goes to standard output, and those of the others nowhere. */
export function intoStandardOutput(wanted: OutputFormat): Destination {
  return {
    takesStandardOutput: true,
    shown: () => 'standard output',
    begin: async () => ({
      save: async ({ format, bytes }) => (format === wanted ? await write(bytes) : undefined),
      end: async () => [],
    }),
  };
}

/** @throws LotusError `cancelled` when nobody takes it; why is told by whoever listens to the stream. */
async function write(bytes: Buffer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  process.stdout.write(bytes, (error) => (error ? reject(cancelled()) : resolve()));
  await promise;
}
