import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { COLORMAPS, type Colormap, inColour } from '../../src/image/colormap.ts';

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

describe('the colormap spectral', () => {
  it("has matplotlib's 256 colours, to the byte", async () => {
    const expected = await matplotlib('Spectral', 'np.arange(256)');
    expect(expected).toHaveLength(768);
    expect([...COLORMAPS.spectral.colours]).toEqual(expected);
  });

  it.each([
    { what: 'disparity', isNearBright: true, argument: '1 - np.arange(256) / 255' },
    { what: 'depth', isNearBright: false, argument: 'np.arange(256) / 255' },
  ])('gives $what the colours that upstream gives it', async ({ isNearBright, argument }) => {
    const pixels = inColour(GREYS, COLORMAPS.spectral, isNearBright);
    expect([...pixels]).toEqual(await matplotlib('Spectral', argument));
  });
});

describe('inColour', () => {
  it('makes what is near red, whichever way the grey goes', () => {
    const [bright, dark] = [255, 0].map((grey) => Uint8Array.of(grey));
    const red = [158, 1, 66];
    const violet = [94, 79, 162];
    const { spectral } = COLORMAPS;
    expect([...inColour(bright ?? GREYS, spectral, true)]).toEqual(red);
    expect([...inColour(dark ?? GREYS, spectral, false)]).toEqual(red);
    expect([...inColour(dark ?? GREYS, spectral, true)]).toEqual(violet);
    expect([...inColour(bright ?? GREYS, spectral, false)]).toEqual(violet);
  });

  it('goes the other way with a colormap whose last entry is near', () => {
    const colours = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));
    const map: Colormap = { colours, near: 'last' };
    expect([...inColour(Uint8Array.of(0, 200), map, true)]).toEqual([0, 0, 0, 200, 200, 200]);
    expect([...inColour(Uint8Array.of(0, 200), map, false)]).toEqual([255, 255, 255, 55, 55, 55]);
  });
});
