/** Maps in colour. A colormap is a table; which end of it is near is its own business, and not the picture's. */

/** As matplotlib's tables, and as many as a grey pixel has values. */
const ENTRIES = 256;

export interface Colormap {
  /** RGB bytes, an entry after the other. */
  readonly colours: Uint8Array;
  /** Which entry stands for what is nearest. */
  readonly near: 'first' | 'last';
}

/**
 * ColorBrewer's diverging scheme of 11 classes, from colour specifications developed by Cynthia Brewer
 * (https://colorbrewer.org, Apache-2.0). matplotlib makes its map of the same name of them.
 */
const SPECTRAL = [
  0x9e0142, 0xd53e4f, 0xf46d43, 0xfdae61, 0xfee08b, 0xffffbf, 0xe6f598, 0xabdda4, 0x66c2a5,
  0x3288bd, 0x5e4fa2,
];

export const COLORMAPS = {
  /** Upstream's: near is red and far is violet, whether the model predicts disparity or depth. */
  spectral: { colours: interpolated(SPECTRAL), near: 'first' },
} as const satisfies Record<string, Colormap>;

/** RGB pixels for 8-bit grey ones. */
export function inColour(
  grey: Uint8Array,
  { colours, near }: Colormap,
  isNearBright: boolean,
): Buffer {
  const isTurned = isNearBright === (near === 'first');
  const pixels = Buffer.allocUnsafe(grey.length * 3);
  for (const [i, value] of grey.entries()) {
    const entry = 3 * (isTurned ? ENTRIES - 1 - value : value);
    pixels.set(colours.subarray(entry, entry + 3), 3 * i);
  }
  return pixels;
}

/**
 * The table between evenly spaced colours, as matplotlib's `LinearSegmentedColormap.from_list` has it, and its floats
 * made bytes as upstream makes them, cut off and not rounded. A byte hangs on the last bit of a float, so each step
 * is taken as NumPy takes it.
 */
function interpolated(anchors: readonly number[]): Uint8Array {
  const knots = linspace(anchors.length).map((x) => x * (ENTRIES - 1));
  const at = linspace(ENTRIES).map((x) => x * (ENTRIES - 1));
  const channels = [16, 8, 0].map((shift) => anchors.map((rgb) => ((rgb >> shift) & 255) / 255));
  const entries = at.map((x, i) => {
    const k = knots.findIndex((knot) => knot >= x);
    return channels.map((values) => {
      const [low = 0, high = 0] = [values[k - 1], values[k]];
      if (i === 0 || i === ENTRIES - 1) return high;
      const [from = 0, to = 0] = [knots[k - 1], knots[k]];
      return ((x - from) / (to - from)) * (high - low) + low;
    });
  });
  return Uint8Array.from(entries.flat(), (value) => Math.trunc(value * 255));
}

/** NumPy's, from 0 to 1: multiples of the step, which are not always the nearest floats, and an exact end. */
function linspace(count: number): number[] {
  const step = 1 / (count - 1);
  return Array.from({ length: count }, (_, i) => (i === count - 1 ? 1 : i * step));
}
