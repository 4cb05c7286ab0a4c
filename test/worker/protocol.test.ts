import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  encodeRequest,
  ProtocolError,
  parseReply,
  parseRequest,
  type Request,
} from '../../src/worker/protocol.ts';

const EXAMPLES = path.join(import.meta.dirname, '..', 'fixtures', 'protocol');

/** The shared examples, which the Python side's tests read too: one raw line a file. */
function examples(kind: 'requests' | 'replies', verdict: 'good' | 'bad') {
  const dir = path.join(EXAMPLES, kind, verdict);
  return readdirSync(dir).map((name) => {
    const line = readFileSync(path.join(dir, name)).subarray(0, -1);
    return [path.parse(name).name, line] as const;
  });
}

describe('requests', () => {
  it.each(examples('requests', 'good'))(
    '%s is one, and is written as it is read',
    (_name, line) => {
      const request = parseRequest(line);
      expect(request).toEqual(JSON.parse(line.toString()));
      expect(JSON.parse(encodeRequest(request))).toEqual(request);
    },
  );

  it.each(examples('requests', 'bad'))('%s is none', (_name, line) => {
    expect(() => parseRequest(line)).toThrow(ProtocolError);
  });

  it('are one line each, whatever is in them', () => {
    const request: Request = { type: 'ping', id: 'a\nb\r\u2028' };
    expect(encodeRequest(request).indexOf('\n')).toBe(encodeRequest(request).length - 1);
  });
});

describe('replies', () => {
  it.each(examples('replies', 'good'))('%s is one', (_name, line) => {
    expect(parseReply(line)).toEqual(JSON.parse(line.toString()));
  });

  it.each(examples('replies', 'bad'))('%s is none', (_name, line) => {
    expect(() => parseReply(line)).toThrow(ProtocolError);
  });

  it('that are bad are quoted in the error, cut short', () => {
    expect(() => parseReply(Buffer.from('Loading...'))).toThrow('"Loading..."');
    expect(() => parseReply(Buffer.from('x'.repeat(5000)))).toThrow(/^.{0,300}$/s);
  });

  it('that lack a field or have another are told by its name', () => {
    expect(() => parseReply(Buffer.from('{"type":"pong"}'))).toThrow(/\bid\b/);
    expect(() => parseReply(Buffer.from('{"type":"pong","id":"1","x":1}'))).toThrow(/"x"/);
  });
});
