import { LotusError } from '../errors.ts';

const DATA_URL = /^data:[^,]{0,200};base64,/i;
const BASE64 = /^[A-Za-z0-9+/\r\n\t ]*(=[\r\n\t ]*){0,2}$/;
const SPACE = 0x20;
const BLANKS: ReadonlySet<number> = new Set([...'\r\n\t '].map((blank) => blank.charCodeAt(0)));

/**
 * Decode an image from base64, or from a data URL of it. Line breaks are allowed, as `base64` writes
 * them; anything else that is not base64 is refused instead of skipped.
 *
 * @throws LotusError `no_image` or `invalid_image`.
 */
export function decodeBase64Image(text: string): Buffer {
  const encoded = text.trimStart().replace(DATA_URL, '');
  const digits = countDigits(encoded);
  if (digits === 0) throw new LotusError('no_image', 'image_base64 is empty.');
  if (!BASE64.test(encoded) || digits % 4 !== 0) {
    throw new LotusError(
      'invalid_image',
      'image_base64 is not base64: send the file in standard base64, padded, or as a data URL.',
    );
  }
  return Buffer.from(encoded, 'base64'); // it skips blanks by itself
}

/** By counting: a copy without the blanks takes seconds to make where there is one behind every digit. */
function countDigits(encoded: string): number {
  let digits = 0;
  for (let at = 0; at < encoded.length; at += 1) {
    const code = encoded.charCodeAt(at);
    if (code > SPACE || !BLANKS.has(code)) digits += 1;
  }
  return digits;
}
