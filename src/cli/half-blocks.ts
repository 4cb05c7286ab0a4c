import type { DecodedImage } from '../image/decode.ts';

/**
 * A picture as text for a terminal with 24-bit colours, two rows of pixels a line: each `▀` is a pixel in its own
 * colour over one in its background's. Colours end with their line, so that what comes after it is as it was.
 */
export function halfBlocks({ pixels, width, height }: DecodedImage): string {
  let text = '';
  for (let y = 0; y < height; y += 2) {
    let last = '';
    for (let x = 0; x < width; x += 1) {
      const upper = `38;2;${rgb(x, y)}`;
      const colours = y + 1 < height ? `${upper};48;2;${rgb(x, y + 1)}` : upper;
      text += colours === last ? '▀' : `\x1b[${colours}m▀`;
      last = colours;
    }
    text += '\x1b[0m\n';
  }
  return text;

  function rgb(x: number, y: number): string {
    const at = (y * width + x) * 3;
    return pixels.subarray(at, at + 3).join(';');
  }
}
