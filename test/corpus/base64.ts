import type { ErrorCode } from '../../src/errors.ts';
import type { Case } from './case.ts';
import { PHOTO, PHOTO_BASE64 } from './photo.ts';

const of = (name: string, image_base64: string, code: ErrorCode | null): Case => ({
  name,
  input: { image_base64, processing_res: 64 },
  code,
});

const lines = (text: string, length: number, end: string) =>
  text.replaceAll(new RegExp(`.{${length}}`, 'g'), `$&${end}`);

/** Texts in the place of an image. */
export const BASE64: readonly Case[] = [
  of('empty', '', 'no_image'),
  of('blanks', ' \r\n\t ', 'no_image'),
  of('ten megabytes of blanks', ' '.repeat(10_000_000), 'no_image'),
  of('a data URL of nothing', 'data:image/png;base64,', 'no_image'),
  of('the beginning of a data URL', 'data:', 'invalid_image'),
  of('a data URL without a comma', `data:image/png;base64${PHOTO_BASE64}`, 'invalid_image'),
  of('a data URL that says not base64', `data:image/png,${PHOTO_BASE64}`, 'invalid_image'),
  of('a data URL in percent signs', `data:image/png,%89PNG`, 'invalid_image'),
  of('a data URL in a data URL', `data:;base64,data:;base64,${PHOTO_BASE64}`, 'invalid_image'),
  of(
    'a data URL whose type has no end',
    `data:${'a'.repeat(1_000_000)};base64,${PHOTO_BASE64}`,
    'invalid_image',
  ),
  of('data: by the million', 'data:'.repeat(1_000_000), 'invalid_image'),
  of('no base64', 'not base64!', 'invalid_image'),
  of('an address', 'https://example.com/photo.png', 'invalid_image'),
  of('the address of a file', 'file:///etc/passwd', 'invalid_image'),
  of('a path', '/etc/passwd', 'invalid_image'),
  of('a path that is base64', '/etc/passwd+', 'unsupported_format'),
  of(
    'the alphabet of URLs',
    PHOTO_BASE64.replaceAll('+', '-').replaceAll('/', '_'),
    'invalid_image',
  ),
  of('no padding', 'QUI', 'invalid_image'),
  of('one letter less', PHOTO_BASE64.slice(0, -1), 'invalid_image'),
  of('padding in front', `====${PHOTO_BASE64}`, 'invalid_image'),
  of('padding in the middle', `QUI=${PHOTO_BASE64}`, 'invalid_image'),
  of('padding alone', '====', 'invalid_image'),
  of('ten megabytes of padding', '='.repeat(10_000_000), 'invalid_image'),
  of('letters of full width', 'ＡＡＡＡ', 'invalid_image'),
  of('letters of another alphabet', PHOTO_BASE64.replace('A', 'А'), 'invalid_image'),
  of('zero characters', `\0\0\0\0${PHOTO_BASE64}`, 'invalid_image'),
  of('a byte order mark in the middle', `QUJD\ufeff${PHOTO_BASE64}`, 'invalid_image'),
  of('half a surrogate pair', `\ud800${PHOTO_BASE64}`, 'invalid_image'),
  of('a no-break space', `${PHOTO_BASE64}\u00a0`, 'invalid_image'),
  of('a line separator', `${PHOTO_BASE64}\u2028`, 'invalid_image'),
  of('line breaks that are written out', `${PHOTO_BASE64}\\n`, 'invalid_image'),
  of('percent signs', encodeURIComponent(`${PHOTO_BASE64}=`), 'invalid_image'),
  of('an ellipsis', `${PHOTO_BASE64.slice(0, 100)}...`, 'invalid_image'),
  of('quotes around it', `"${PHOTO_BASE64}"`, 'invalid_image'),
  of(
    'hexadecimal with spaces of another kind',
    PHOTO.toString('hex').replaceAll(/../g, '$&\v'),
    'invalid_image',
  ),
  of('hexadecimal', PHOTO.subarray(0, 100).toString('hex'), 'unsupported_format'),
  of('base64 of base64', Buffer.from(PHOTO_BASE64).toString('base64'), 'unsupported_format'),
  of(
    'base64 of a data URL',
    Buffer.from(`data:;base64,${PHOTO_BASE64}`).toString('base64'),
    'unsupported_format',
  ),
  of('base64 of text', 'aGVsbG8=', 'unsupported_format'),
  of('base64 of JSON', Buffer.from('{"image_base64":""}').toString('base64'), 'unsupported_format'),
  of(
    'base64 of an SVG that reads a file',
    Buffer.from('<svg><image href="file:///etc/passwd"/></svg>').toString('base64'),
    'unsupported_format',
  ),
  of('base64 of a PDF', Buffer.from('%PDF-1.7').toString('base64'), 'unsupported_format'),
  of(
    'base64 of a pickle',
    Buffer.from('\x80\x04\x95', 'latin1').toString('base64'),
    'unsupported_format',
  ),
  of('base64 of one zero', 'AA==', 'unsupported_format'),
  of('ten megabytes of zeros', 'A'.repeat(10_000_000), 'unsupported_format'),
  of('ten megabytes with a blank behind each digit', 'A '.repeat(5_000_000), 'unsupported_format'),
  of('ten megabytes that are wrong at their end', `${'A'.repeat(9_999_999)}!`, 'invalid_image'),
  of(
    'the image, and text behind it',
    `${PHOTO_BASE64.replace(/=+$/, '')}, and more`,
    'invalid_image',
  ),
  of('the image', PHOTO_BASE64, null),
  of('the image as a data URL', `data:image/png;base64,${PHOTO_BASE64}`, null),
  of(
    'a data URL that lies of its type',
    `data:text/html;charset=utf-7;base64,${PHOTO_BASE64}`,
    null,
  ),
  of('the image in lines', lines(PHOTO_BASE64, 76, '\r\n'), null),
  of('the image with a blank behind each digit', lines(PHOTO_BASE64, 1, ' '), null),
];
