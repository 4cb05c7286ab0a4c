export type ImageKind = 'jpeg' | 'png' | 'webp';

/**
 * The kinds of file that people send, by their first bytes. We decode three; the others are here to be
 * named in the error, and never reach a decoder.
 */
const SIGNATURES: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['jpeg', /^\xff\xd8\xff/],
  ['png', /^\x89PNG\r\n\x1a\n/],
  ['webp', /^RIFF.{4}WEBP/s],
  ['GIF', /^GIF8[79]a/],
  ['BMP', /^BM/],
  ['TIFF', /^(II[*+]\0|MM\0[*+])/],
  ['HEIC', /^.{4}ftyp(heic|heix|heim|heis|hevc|mif1|msf1)/s],
  ['AVIF', /^.{4}ftyp(avif|avis)/s],
  ['JPEG XL', /^(\xff\x0a|\0\0\0\x0cJXL )/],
  ['JPEG 2000', /^\0\0\0\x0cjP {2}/],
  ['icon', /^\0\0[\x01\x02]\0/],
  ['Photoshop', /^8BPS/],
  ['Radiance HDR', /^#\?(RADIANCE|RGBE)/],
  ['Netpbm', /^P[1-7fF]\s/],
  ['OpenEXR', /^\x76\x2f\x31\x01/],
  ['PDF', /^%PDF-/],
  ['PostScript', /^%!PS/],
  ['SVG or XML', /^(\xef\xbb\xbf)?\s*<(\?xml|svg|!DOCTYPE svg)/i],
  ['HTML', /^\s*<(!DOCTYPE html|html)/i],
  ['ZIP', /^PK\x03\x04/],
  ['gzip', /^\x1f\x8b/],
];

const SNIFFED_BYTES = 256;

/** Which image this is by its first bytes; whatever its name says is not asked. */
export function sniff(bytes: Uint8Array): { kind: ImageKind } | { kind: null; looksLike: string } {
  const head = Buffer.from(bytes.subarray(0, SNIFFED_BYTES)).toString('latin1');
  const name = SIGNATURES.find(([, pattern]) => pattern.test(head))?.[0];
  if (name === 'jpeg' || name === 'png' || name === 'webp') return { kind: name };
  // Control characters tell binary from text.
  const isText = !/[\0-\x08\x0e-\x1a]/.test(head);
  return { kind: null, looksLike: name ?? (isText ? 'text' : 'something unknown') };
}
