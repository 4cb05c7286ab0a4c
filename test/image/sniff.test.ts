import { readFile } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sniff } from '../../src/image/sniff.ts';
import { IMAGES } from '../cli/cli.ts';

const bytes = (latin1: string) => Buffer.from(latin1, 'latin1');

/** Which image bytes are, by the letter of the three formats. */
function kindOf(head: string): string | null {
  if (head.startsWith('\xff\xd8\xff')) return 'jpeg';
  if (head.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
  return head.startsWith('RIFF') && head.startsWith('WEBP', 8) ? 'webp' : null;
}

describe('sniff', () => {
  it.each([
    ['jpeg', '\xff\xd8\xff\xe0\0\x10JFIF\0'],
    ['jpeg', '\xff\xd8\xff\xe1\x01\x02Exif\0\0'],
    ['jpeg', '\xff\xd8\xff'],
    ['png', '\x89PNG\r\n\x1a\n\0\0\0\rIHDR'],
    ['png', '\x89PNG\r\n\x1a\n'],
    ['webp', 'RIFF\x1a\0\0\0WEBPVP8L'],
    ['webp', 'RIFF\n\n\n\nWEBP'],
  ])('knows a %s', (kind, head) => {
    expect(sniff(bytes(head))).toEqual({ kind });
  });

  it.each([
    ['balls.png', 'png'],
    ['corridor.jpg', 'jpeg'],
    ['mountains.webp', 'webp'],
  ])('knows the sample %s', async (name, kind) => {
    expect(sniff(await readFile(path.join(IMAGES, name)))).toEqual({ kind });
  });

  it.each([
    ['GIF', 'GIF87a\x01\0'],
    ['GIF', 'GIF89a\x01\0'],
    ['BMP', 'BM\x46\0\0\0\0\0'],
    ['TIFF', 'II*\0\x08\0\0\0'],
    ['TIFF', 'MM\0*\0\0\0\x08'],
    ['TIFF', 'II+\0\x08\0\0\0'],
    ['icon', '\0\0\x01\0\x01\0'],
    ['Photoshop', '8BPS\0\x01'],
    ['Radiance HDR', '#?RADIANCE\n'],
    ['Netpbm', 'P6 1 1 255 '],
    ['PostScript', '%!PS-Adobe-3.0'],
    ['gzip', '\x1f\x8b\x08\0'],
    ['HEIC', '\0\0\0\x18ftypheic'],
    ['HEIC', '\0\0\0\x18ftypmif1'],
    ['AVIF', '\0\0\0\x1cftypavif'],
    ['AVIF', '\0\0\0\x1cftypavis'],
    ['JPEG XL', '\xff\x0a\0\0'],
    ['JPEG XL', '\0\0\0\x0cJXL \r\n\x87\n'],
    ['JPEG 2000', '\0\0\0\x0cjP  \r\n\x87\n'],
    ['OpenEXR', '\x76\x2f\x31\x01\x02\0\0\0'],
    ['PDF', '%PDF-1.7\n'],
    ['SVG or XML', '<svg xmlns="http://www.w3.org/2000/svg"/>'],
    ['SVG or XML', '<?xml version="1.0"?>\n<svg/>'],
    ['SVG or XML', '\xef\xbb\xbf\n<?xml version="1.0"?>'],
    ['SVG or XML', '  <!DOCTYPE svg PUBLIC "">'],
    ['HTML', '<!doctype html><title>404</title>'],
    ['HTML', '\n<html lang="en">'],
    ['ZIP', 'PK\x03\x04\x14\0'],
  ])('names a %s, and takes it for no image', (looksLike, head) => {
    expect(sniff(bytes(head))).toEqual({ kind: null, looksLike });
  });

  it.each([
    ['JSON', '{"error": "not found"}'],
    ['lines', 'one\r\n\ttwo\n'],
    ['UTF-8', Buffer.from('schöne Grüße, 深度').toString('latin1')],
    ['base64 of a JPEG', '/9j/4AAQSkZJRgABAQ'],
  ])('takes %s for text', (_what, head) => {
    expect(sniff(bytes(head))).toEqual({ kind: null, looksLike: 'text' });
  });

  it.each([
    ['zeros', '\0\0\0\0\0\0\0\0'],
    ['a program', '\x7fELF\x02\x01\x01\0'],
    ['a sound', 'RIFF\x24\0\0\0WAVEfmt '],
    ['UTF-16', 'h\0i\0'],
    ['half of the bytes that make a PNG', '\x89PNG\r\n\x1a'],
    ['a JPEG behind something else', '\0\xff\xd8\xff\xe0'],
  ])('takes %s for something unknown', (_what, head) => {
    expect(sniff(bytes(head))).toEqual({ kind: null, looksLike: 'something unknown' });
  });

  it('takes nothing at all for no image', () => {
    expect(sniff(new Uint8Array(0)).kind).toBeNull();
  });

  it('looks at the bytes of a view, not of the memory behind it', () => {
    const memory = bytes('GIF89a\xff\xd8\xff\xe0');
    expect(sniff(memory.subarray(6))).toEqual({ kind: 'jpeg' });
  });

  it('names a kind only where its magic bytes are, whatever the bytes', () => {
    const magic = fc.constantFrom(
      '',
      '\xff\xd8\xff',
      '\x89PNG\r\n\x1a\n',
      'RIFF1234WEBP',
      'GIF8',
      '<',
    );
    fc.assert(
      fc.property(magic, fc.uint8Array({ maxLength: 400 }), (head, tail) => {
        const all = Buffer.concat([bytes(head), tail]);
        const sniffed = sniff(all);
        expect(sniffed.kind).toBe(kindOf(all.toString('latin1')));
        if (sniffed.kind === null) expect(sniffed.looksLike).toMatch(/\w/);
      }),
    );
  });
});
