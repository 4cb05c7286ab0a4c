import { type DestinationStream, pino } from 'pino';
import { allowsColour } from './colour.ts';
import { withoutSecrets } from './secrets.ts';

export type Log = pino.Logger;

/**
 * The program's log: JSON lines on standard error, readable lines when that is a terminal. Standard
 * output is for results.
 */
export async function createLog(level: string): Promise<Log> {
  if (process.stderr.isTTY) {
    const { default: pretty } = await import('pino-pretty');
    const stream = pretty({
      destination: 2,
      sync: true,
      ignore: 'pid,hostname',
      colorize: allowsColour(process.env),
    });
    return pino({ level }, clean(stream));
  }
  const stream = pino.destination({ dest: 2, sync: true });
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, clean(stream));
}

/** Whatever is logged, other people's errors too, is logged without secrets. */
function clean(stream: DestinationStream): DestinationStream {
  return { write: (line) => stream.write(withoutSecrets(line)) };
}
