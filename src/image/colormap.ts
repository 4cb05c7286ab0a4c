/** Maps in colour: every pixel is an entry of a colormap. */
import { INFERNO, MAGMA, TURBO, VIRIDIS } from './colormap-tables.ts';

/** As matplotlib's tables, and as many as a grey pixel has values. */
const ENTRIES = 256;

export interface Colormap {
  /** RGB bytes, an entry after the other. */
  readonly colours: Uint8Array;
  /**
   * Its first entry is what is nearest, whichever way the grey picture goes. Others go from dark to bright as that
   * picture does.
   */
  readonly isNearFirst: boolean;
}

/**
 * ColorBrewer's diverging scheme of 11 classes, from colour specifications developed by Cynthia Brewer
 * (https://colorbrewer.org, Apache-2.0). matplotlib makes its map of the same name of them.
 */
const SPECTRAL = [
  0x9e0142, 0xd53e4f, 0xf46d43, 0xfdae61, 0xfee08b, 0xffffbf, 0xe6f598, 0xabdda4, 0x66c2a5,
  0x3288bd, 0x5e4fa2,
];

/** By matplotlib's names. */
export const COLORMAPS = {
  /** Upstream's: near is red and far is violet, whether the model predicts disparity or depth. */
  Spectral: { colours: interpolated(SPECTRAL), isNearFirst: true },
  turbo: listed(TURBO),
  inferno: listed(INFERNO),
  magma: listed(MAGMA),
  viridis: listed(VIRIDIS),
  gray: {
    colours: Uint8Array.from({ length: ENTRIES * 3 }, (_, i) => Math.floor(i / 3)),
    isNearFirst: false,
  },
} as const satisfies Record<string, Colormap>;

export const COLORMAP_NAMES = [
  'Spectral',
  'turbo',
  'inferno',
  'magma',
  'viridis',
  'gray',
] as const satisfies (keyof typeof COLORMAPS)[];

/** Whether a colormap's last entry is what is black in the grey picture. */
export function isReversed({ isNearFirst }: Colormap, isNearBright: boolean): boolean {
  return isNearFirst && isNearBright;
}

/** RGB pixels for entries of a colormap, a byte each. */
export function inColour(entries: Uint8Array, { colours }: Colormap): Buffer {
  const pixels = Buffer.allocUnsafe(entries.length * 3);
  let at = 0;
  // By index: with an iterator, or a copy for each pixel, an image of 4096 x 4096 takes seconds.
  for (let i = 0; i < entries.length; i += 1) {
    const entry = 3 * (entries[i] ?? 0);
    pixels[at++] = colours[entry] ?? 0;
    pixels[at++] = colours[entry + 1] ?? 0;
    pixels[at++] = colours[entry + 2] ?? 0;
  }
  return pixels;
}

function listed(table: string): Colormap {
  return { colours: Buffer.from(table, 'base64'), isNearFirst: false };
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
