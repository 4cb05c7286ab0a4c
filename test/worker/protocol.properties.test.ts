import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ProtocolError, parseReply, replySchema } from '../../src/worker/protocol.ts';

const GOOD = path.join(import.meta.dirname, '..', 'fixtures', 'protocol', 'replies', 'good');
const replies = globSync(path.join(GOOD, '*.json')).map((file) => readFileSync(file));

/** It is a reply, or a ProtocolError; and nothing else is ever thrown. */
function readOrRefuse(line: Uint8Array): void {
  try {
    expect(replySchema.safeParse(parseReply(line)).success).toBe(true);
  } catch (error) {
    expect(error).toBeInstanceOf(ProtocolError);
  }
}

describe('parseReply gives a reply or a ProtocolError', () => {
  it('for any bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), readOrRefuse), { numRuns: 1000 });
  });

  it('for any JSON', () => {
    const json = fc.oneof(
      fc.json(),
      fc.record({ type: fc.string(), id: fc.jsonValue() }).map((value) => JSON.stringify(value)),
    );
    fc.assert(
      fc.property(json, (text) => readOrRefuse(Buffer.from(text))),
      { numRuns: 500 },
    );
  });

  it('for a good reply of which some bytes are others', () => {
    const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.constantFrom(...replies), changes, (reply, changed) => {
        const line = Buffer.from(reply);
        for (const [at, value] of changed) line[at % line.length] = value;
        readOrRefuse(line);
      }),
      { numRuns: 1000 },
    );
  });

  it('for a good reply of which one field is anything', () => {
    const value = fc.oneof(fc.jsonValue(), fc.constantFrom(1e308, -0, '', '\0', '__proto__'));
    fc.assert(
      fc.property(fc.constantFrom(...replies), fc.nat(), value, (reply, nth, other) => {
        const fields = Object.entries(JSON.parse(reply.toString()) as object);
        const name = fields[nth % fields.length]?.[0] ?? '';
        const line = JSON.stringify({ ...Object.fromEntries(fields), [name]: other });
        readOrRefuse(Buffer.from(line));
      }),
      { numRuns: 1000 },
    );
  });
});
