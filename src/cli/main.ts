#!/usr/bin/env node
import { CommanderError } from 'commander';
import { LotusError, SetupError, UsageError } from '../errors.ts';
import { buildProgram } from './program.ts';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
const EXIT_INTERRUPTED = 130; // as a shell reports Ctrl-C: 128 and SIGINT's number

let heard = true;
/** What was to be written is lost, on a disk that is full say. */
let lost = false;
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && !lost) {
      lost = true;
      process.stderr.write(`error: Cannot write: ${error.message}\n`);
      if (process.listenerCount('SIGTERM') === 0) process.exit(EXIT_FAILED);
    }
    // The reader, `head` say, has had enough: end in order, as at Ctrl-C, but only once.
    if (heard) process.kill(process.pid, 'SIGTERM');
    heard = false;
  });
}
process.exitCode = await main(process.argv);

async function main(argv: readonly string[]): Promise<number> {
  let code = 0;
  const program = buildProgram((exitCode) => {
    code = exitCode;
  });
  try {
    await program.parseAsync(argv);
    return lost ? EXIT_FAILED : code;
  } catch (error) {
    if (lost) return EXIT_FAILED;
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
    await logCause(error);
    return report(error);
  }
}

/** A person gets to see the message; what lies behind it is for the log. */
async function logCause(error: unknown): Promise<void> {
  if (!(error instanceof SetupError || error instanceof LotusError) || !error.cause) return;
  const { createLog } = await import('../log.ts');
  const log = await createLog(process.env.LOTUS_LOG_LEVEL || 'warn');
  log[process.stderr.isTTY ? 'debug' : 'error']({ err: error.cause }, error.message);
}

function report(error: unknown): number {
  if (error instanceof UsageError) {
    process.stderr.write(`error: ${error.message}\n`);
    return EXIT_USAGE;
  }
  if (error instanceof LotusError && error.code === 'cancelled') {
    process.stderr.write('interrupted\n');
    return EXIT_INTERRUPTED;
  }
  if (error instanceof SetupError || error instanceof LotusError) {
    const code = error instanceof LotusError ? ` [${error.code}]` : '';
    process.stderr.write(`error: ${error.message}${code}\n`);
    return EXIT_FAILED;
  }
  throw error; // a mistake of ours: Node prints it with its stack
}
