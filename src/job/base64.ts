import { LotusError } from '../errors.ts';

const DATA_URL = /^data:[^,]{0,200};base64,/i;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/**
 * Decode an image from base64, or from a data URL of it. Line breaks are allowed, as `base64` writes
 * them; anything else that is not base64 is refused instead of skipped.
 *
 * @throws LotusError `no_image` or `invalid_image`.
 */
export function decodeBase64Image(text: string): Buffer {
  const digits = text
    .trimStart()
    .replace(DATA_URL, '')
    .replaceAll(/[\r\n\t ]+/g, '');
  if (digits === '') throw new LotusError('no_image', 'image_base64 is empty.');
  if (!BASE64.test(digits) || digits.length % 4 !== 0) {
    throw new LotusError(
      'invalid_image',
      'image_base64 is not base64: send the file in standard base64, padded, or as a data URL.',
    );
  }
  return Buffer.from(digits, 'base64');
}
