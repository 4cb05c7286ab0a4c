/** Images as strangers may send them, by what is odd about them. */
import type { Case } from './case.ts';
import { BOMBS } from './images/bombs.ts';
import { KINDS } from './images/kinds.ts';
import { LYING } from './images/lying.ts';
import { ODD } from './images/odd.ts';
import { OVERSIZED } from './images/oversized.ts';
import { POLYGLOTS } from './images/polyglots.ts';
import type { ImageCase } from './images/sources.ts';
import { TRUNCATED } from './images/truncated.ts';

/** By kind. */
export const IMAGE_FILES: Readonly<Record<string, readonly ImageCase[]>> = {
  truncated: TRUNCATED,
  lying: LYING,
  oversized: OVERSIZED,
  polyglots: POLYGLOTS,
  bombs: BOMBS,
  kinds: KINDS,
  odd: ODD,
};

/** As jobs, computed at a size that takes a blink. */
export const IMAGES: readonly Case[] = Object.values(IMAGE_FILES)
  .flat()
  .map(({ name, bytes, code }) => ({
    name,
    input: { image_base64: bytes.toString('base64'), processing_res: 64 },
    code,
  }));
