import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { COLORMAP_NAMES, COLORMAPS, inColour, isReversed } from '../../src/image/colormap.ts';

const { workspace } = readConfig(process.env);
const GREYS = Uint8Array.from({ length: 256 }, (_, i) => i);

/** What matplotlib's map gives for an argument that Python evaluates, made bytes as upstream does it. */
async function matplotlib(name: string, argument: string): Promise<number[]> {
  const script = `
import json, matplotlib, numpy as np
colours = matplotlib.colormaps[${JSON.stringify(name)}](${argument})[:, :3]
print(json.dumps((colours * 255).astype(np.uint8).ravel().tolist()))`;
  const python = path.join(workspace, 'venv', 'bin', 'python');
  const { stdout } = await execa(python, ['-c', script]);
  return JSON.parse(stdout);
}

describe('a colormap', () => {
  it.each(COLORMAP_NAMES.filter((name) => name !== 'gray'))(
    "is matplotlib's of the name %s, to the byte",
    async (name) => {
      const expected = await matplotlib(name, 'np.arange(256)');
      expect(expected).toHaveLength(768);
      expect([...COLORMAPS[name].colours]).toEqual(expected);
    },
  );

  it('that is gray has every grey as itself', () => {
    const greys = GREYS.slice(0);
    expect([...inColour(greys, COLORMAPS.gray)]).toEqual([...greys].flatMap((v) => [v, v, v]));
  });

  it('is reversed where its first entry is near and near is bright', () => {
    const reversed = (isNearBright: boolean) =>
      COLORMAP_NAMES.filter((name) => isReversed(COLORMAPS[name], isNearBright));
    expect(reversed(true)).toEqual(['Spectral']);
    expect(reversed(false)).toEqual([]);
  });
});

describe('inColour', () => {
  it('gives each pixel its entry', () => {
    const pixels = inColour(Uint8Array.of(255, 0, 0), COLORMAPS.Spectral);
    const [red, violet] = [
      [158, 1, 66],
      [94, 79, 162],
    ];
    expect([...pixels]).toEqual([violet, red, red].flat());
  });
});
