import { all, type ImageCase, picture, text } from './sources.ts';

const ftyp = (brand: string) => text(`\0\0\0\x18ftyp${brand}\0\0\0\0`);

/** What is no JPEG, PNG or WebP, whatever libvips or ImageMagick could make of it. */
export const KINDS: readonly ImageCase[] = all('unsupported_format', {
  'a GIF': await picture().gif().toBuffer(),
  'a TIFF': await picture().tiff().toBuffer(),
  'an AVIF': await picture().avif({ effort: 0 }).toBuffer(),
  'a big-endian TIFF': text('MM\0*\0\0\0\x08'),
  'a BigTIFF': text('II+\0\x08\0\0\0'),
  'a HEIC': ftyp('heic'),
  'a BMP': text('BM\x3a\0\0\0\0\0\0\0\x36\0\0\0'),
  'an icon': text('\0\0\x01\0\x01\0\x10\x10'),
  'a Photoshop file': text('8BPS\0\x01\0\0\0\0\0\0'),
  'a JPEG XL': text('\xff\x0a\xfa\x1f'),
  'a JPEG 2000': text('\0\0\0\x0cjP  \r\n\x87\n'),
  'an OpenEXR': text('\x76\x2f\x31\x01\x02\0\0\0'),
  'a Radiance HDR': text('#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n'),
  'a portable pixmap': text('P6 1 1 255 \0\0\0'),
  'a libvips file': text('\x08\xf2\xa6\xb6\0\0\0\x01'),
  'a FITS file': text('SIMPLE  =                    T'),
  'a MATLAB file': text('MATLAB 5.0 MAT-file'),
  'an SVG': text('<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'),
  'an SVG that names a file': text(
    '<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>' +
      '<svg xmlns="http://www.w3.org/2000/svg"><text>&x;</text></svg>',
  ),
  'a compressed SVG': text('\x1f\x8b\x08\0\0\0\0\0'),
  'a PDF': text('%PDF-1.7\n'),
  PostScript: text('%!PS-Adobe-3.0 EPSF-3.0\n'),
  "ImageMagick's drawing language": text(
    "push graphic-context\nviewbox 0 0 9 9\nfill 'url(https://example.com/|id)'\npop graphic-context\n",
  ),
  "ImageMagick's scripting language": text('<image><read filename="/etc/passwd"/></image>'),
  'an X pixmap': text('/* XPM */\nstatic char *x[] = {"1 1 1 1"};'),
  HTML: text('<!doctype html><p>Not found</p>'),
  'a page of XML': text('<Error><Code>NoSuchKey</Code></Error>'),
  text: text('not an image'),
  'a pickle': text('\x80\x04\x95\x10\0\0\0\0\0\0\0'),
  zeros: Buffer.alloc(1024),
});
