import { segment, withSegments } from '../jpeg.ts';
import { chunk } from '../png.ts';
import { all, type ImageCase, jpeg, png, text, webp } from './sources.ts';

const ZIP = Buffer.concat([
  text('PK\x03\x04'),
  Buffer.alloc(64),
  text('PK\x05\x06'),
  Buffer.alloc(18),
]);
const SVG =
  '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>';
const PDF = '%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF';
const HTML = '<html><script>alert(1)</script></html>';

/** Files that are two things. What they are to us is what they begin as. */
export const POLYGLOTS: readonly ImageCase[] = [
  ...all(null, {
    'a JPEG with a ZIP behind it': Buffer.concat([jpeg, ZIP]),
    'a JPEG with HTML in a comment': withSegments(jpeg, segment(0xfe, text(HTML))),
    'a JPEG with a PDF in a comment': withSegments(jpeg, segment(0xfe, text(PDF))),
    'a JPEG with another behind it, as cameras write them': Buffer.concat([jpeg, jpeg]),
    'a JPEG with a PNG behind it': Buffer.concat([jpeg, png]),
    'a PNG with HTML in a text': Buffer.concat([
      png.subarray(0, 33),
      chunk('tEXt', text(`Comment\0${HTML}`)),
      png.subarray(33),
    ]),
    'a PNG with a PDF behind it': Buffer.concat([png, text(PDF)]),
    'a PNG with a ZIP behind it': Buffer.concat([png, ZIP]),
    'a WebP with HTML behind it': Buffer.concat([webp, text(HTML)]),
  }),
  ...all('unsupported_format', {
    'a PDF with a JPEG in it': Buffer.concat([text(PDF), jpeg]),
    'a ZIP with a PNG in it': Buffer.concat([ZIP, png]),
    'a GIF with a JPEG in it': Buffer.concat([text('GIF89a'), jpeg]),
    'a PNG behind a line break': Buffer.concat([text('\n'), png]),
    'HTML around a PNG': Buffer.concat([text(HTML), png]),
    'RIFF that is a sound': Buffer.concat([text('RIFF\x24\0\0\0WAVEfmt '), Buffer.alloc(28)]),
  }),
  ...all('invalid_image', {
    'an SVG behind the first bytes of a JPEG': text(`\xff\xd8\xff${SVG}`),
    'an SVG behind the first bytes of a PNG': text(`\x89PNG\r\n\x1a\n${SVG}`),
    'a PDF behind the first bytes of a JPEG': text(`\xff\xd8\xff${PDF}`),
    'a GIF in the place of a PNG': text('\x89PNG\r\n\x1a\nGIF89a\x01\0\x01\0\0\0\0;'),
  }),
];
