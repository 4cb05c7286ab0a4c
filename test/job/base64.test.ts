import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBase64Image } from '../../src/job/base64.ts';

const HELLO = 'aGVsbG8gd29ybGQ=';

describe('decodeBase64Image', () => {
  it.each([
    ['plain', HELLO],
    ['a data URL', `data:image/png;base64,${HELLO}`],
    ['a data URL with parameters', `data:image/png;name=photo.png;charset=utf-8;base64,${HELLO}`],
    ['a data URL without a type', `data:;base64,${HELLO}`],
    ['a data URL in capitals', `DATA:IMAGE/PNG;BASE64,${HELLO}`],
    ['a data URL of another type', `data:application/octet-stream;base64,${HELLO}`],
    ['with a newline behind it', `${HELLO}\n`],
    ['in lines', 'aGVs\nbG8g\nd29y\nbGQ='],
    ['in lines of Windows', 'aGVsbG8g\r\nd29ybGQ=\r\n'],
    ['a data URL in lines', 'data:image/png;base64,\naGVsbG8g\nd29ybGQ='],
    ['with spaces and tabs', ' aGVs bG8g\td29y bGQ= '],
  ])('decodes base64 that is %s', (_how, text) => {
    expect(decodeBase64Image(text).toString()).toBe('hello world');
  });

  it.each([
    ['nothing', ''],
    ['blanks', ' \r\n\t'],
    ['a data URL of nothing', 'data:image/png;base64,'],
    ['a data URL of blanks', 'data:image/png;base64, \n'],
  ])('finds no image in %s', (_what, text) => {
    expect(() => decodeBase64Image(text)).toThrow(
      expect.objectContaining({ name: 'LotusError', code: 'no_image', status: 400 }),
    );
  });

  it.each([
    ['the URL-safe alphabet', '-_-_'],
    ['a letter that is none of base64', 'aGVs!G8='],
    ['no padding', 'aGVsbG8'],
    ['one letter too many', `${HELLO.slice(0, 12)}b`],
    ['too much padding', 'aGVsb==='],
    ['padding alone', '===='],
    ['padding in the middle', 'aGU=aGU='],
    ['an ellipsis, as logs cut it', 'aGVsbG8g...'],
    ['a no-break space', 'aGVs\u00a0bG8g'],
    ['a no-break space at the end', 'aGVsbG8g\u00a0'],
    ['control characters', '\0\0\0\0'],
    ['padding before the end', 'aGU= \n=aGU'],
    ['a letter outside ASCII', 'aGVsbG8é'],
    ['a data URL that is not base64', 'data:image/svg+xml,%3Csvg%2F%3E'],
    ['a data URL twice', `data:image/png;base64,data:image/png;base64,${HELLO}`],
    ['a data URL behind base64', `${HELLO}data:image/png;base64,${HELLO}`],
    ['the address of an image', 'https://example.com/photo.jpg'],
  ])('refuses %s', (_what, text) => {
    expect(() => decodeBase64Image(text)).toThrow(
      expect.objectContaining({
        name: 'LotusError',
        code: 'invalid_image',
        message: expect.stringContaining('not base64'),
      }),
    );
  });

  it('says nothing of what was sent, which may be long', () => {
    expect(() => decodeBase64Image('!'.repeat(100_000))).toThrow(/^.{1,200}$/);
  });

  it('gives back any bytes that were encoded', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1 }), (bytes) => {
        const text = Buffer.from(bytes).toString('base64');
        expect([...decodeBase64Image(text)]).toEqual([...bytes]);
        expect([...decodeBase64Image(`data:image/jpeg;base64,${text}`)]).toEqual([...bytes]);
      }),
    );
  });

  it('gives back any bytes that were encoded in lines of 76', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 100, maxLength: 400 }), (bytes) => {
        const text = Buffer.from(bytes).toString('base64').replaceAll(/.{76}/g, '$&\n');
        expect(text).toContain('\n');
        expect([...decodeBase64Image(text)]).toEqual([...bytes]);
      }),
    );
  });
});
