import { describe, expect, it } from 'vitest';
import { StderrLog } from '../../src/worker/stderr.ts';
import { recordingLog } from './programs.ts';

function logOf(...chunks: string[]) {
  const { log, records } = recordingLog();
  const stderr = new StderrLog(log);
  for (const chunk of chunks) stderr.push(Buffer.from(chunk, 'latin1'));
  stderr.end();
  const lines = records.map(({ level, logger, msg }) => ({ level, logger, msg }));
  return { stderr, lines };
}

describe('StderrLog', () => {
  it.each([
    ['DEBUG', 20],
    ['INFO', 30],
    ['WARNING', 40],
    ['ERROR', 50],
    ['CRITICAL', 60],
  ])("logs Python's %s at pino's level %i", (name, level) => {
    expect(logOf(`${name} lotus_worker.lotus: text: more\n`).lines).toEqual([
      { level, logger: 'lotus_worker.lotus', msg: 'text: more' },
    ]);
  });

  it('logs what has no level at debug', () => {
    expect(logOf('Traceback (most recent call last):\n').lines).toEqual([
      { level: 20, logger: undefined, msg: 'Traceback (most recent call last):' },
    ]);
  });

  it("logs a traceback's lines at the level of the error that they belong to", () => {
    const { lines } = logOf('ERROR a: cannot\nTraceback:\n  File "x"\nINFO a: next\nprint\n');
    expect(lines.map(({ level }) => level)).toEqual([50, 50, 50, 30, 20]);
  });

  it('puts lines together that come in pieces, and characters too', () => {
    expect(logOf('INFO a: caf\xc3', '\xa9 au', ' lait\n').lines).toMatchObject([
      { msg: 'café au lait' },
    ]);
  });

  it('takes a progress bar, which ends its lines with a carriage return, line by line', () => {
    expect(logOf('10%\r50%\r100%\r\n').lines.map(({ msg }) => msg)).toEqual(['10%', '50%', '100%']);
  });

  it('keeps the last twenty lines for a crash report', () => {
    const { stderr } = logOf(Array.from({ length: 50 }, (_, i) => `line ${i}\n`).join(''));
    expect(stderr.tail().split('\n')).toEqual(
      Array.from({ length: 20 }, (_, i) => `line ${i + 30}`),
    );
  });

  it('cuts lines that are too long to read, and does not hoard one that never ends', () => {
    const { lines } = logOf('y'.repeat(5000), 'z'.repeat(5000), '\nafter\n');
    expect(lines.map(({ msg }) => String(msg).length)).toEqual([2000, 5]);
  });
});
