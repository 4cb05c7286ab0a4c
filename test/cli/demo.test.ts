import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { MAIN, SAMPLE_ROOT } from '../../src/app.ts';
import { LEDGER } from '../../src/cli/ledger.ts';
import { contactSheet } from '../../src/image/contact-sheet.ts';
import { decodeImage } from '../../src/image/decode.ts';
import { encodePng } from '../../src/image/encode.ts';
import { hasTerminal, rows, start, temporaryFolder } from './cli.ts';

const SHEET = 'contact-sheet.png';
const COLOURFUL = { NO_COLOR: '', COLORTERM: 'truecolor', TERM: 'xterm-256color' };

/** The sample images, by name, as `infer` goes through them. */
const IMAGES = path.join(SAMPLE_ROOT, 'images');
const images = (await readdir(IMAGES)).toSorted();

/** The pixels of a map, by column and row. */
async function greyOf(file: string): Promise<(x: number, y: number) => number> {
  const { pixels, width } = await decodeImage(await readFile(file));
  return (x, y) => pixels[(y * width + x) * 3] ?? Number.NaN;
}

describe('lotus-worker demo', () => {
  it('writes a map for each sample image and a sheet of them all, and says where', async () => {
    const dir = await temporaryFolder();
    const run = await start(['demo'], COLOURFUL, dir);
    expect(run.exitCode).toBe(0);
    const out = path.join(dir, 'lotus-demo');
    const maps = images.map((image) => `${path.parse(image).name}.png`);
    expect((await readdir(out)).toSorted()).toEqual([...maps, SHEET, LEDGER].toSorted());
    const files = images.map(async (image, i) => ({
      image: await readFile(path.join(IMAGES, image)),
      map: await readFile(path.join(out, maps[i] ?? '')),
      isNearBright: true,
    }));
    const sheet = await encodePng({
      ...(await contactSheet(await Promise.all(files))),
      channels: 3,
    });
    expect(sheet.equals(await readFile(path.join(out, SHEET)))).toBe(true);
    expect(run.stderr).toContain(`The maps are in ${out}`);
    expect(run.stderr).toContain(path.join(out, SHEET));
    expect(run.stderr).toMatch(/a small one, trained on drawn scenes for demonstration/);
    for (const drawn of ['▀', '\x1b']) expect(run.stderr).not.toContain(drawn);

    // A house beside the camera and the end of the street, at the same height in the picture; a ball and the horizon.
    const alley = await greyOf(path.join(out, 'alley.png'));
    expect(alley(600, 200)).toBeGreaterThan(alley(300, 230) + 32);
    const field = await greyOf(path.join(out, 'field.png'));
    expect(field(344, 390)).toBeGreaterThan(field(320, 265) + 32);
  });

  it('has nothing but rows on standard output with --json, of maps at the size that the model is for', async () => {
    const dir = await temporaryFolder();
    const run = await start(['demo', '--json', '--output', 'out'], COLOURFUL, dir);
    expect(run.exitCode).toBe(0);
    const found = rows(run.stdout);
    expect(found.map(({ input }) => path.basename(String(input))).toSorted()).toEqual(images);
    for (const { processing_width, processing_height } of found) {
      expect(Math.max(Number(processing_width), Number(processing_height))).toBe(192);
    }
    expect(await readdir(path.join(dir, 'out'))).toContain(SHEET);
    expect(run.stderr).not.toContain('The maps are in');
  });

  it('says so when the sheet cannot be saved', async () => {
    const dir = await temporaryFolder();
    const inTheWay = path.join(dir, 'out', SHEET);
    await mkdir(inTheWay, { recursive: true });
    const run = await start(['demo', '--output', 'out'], {}, dir);
    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain(`error: Cannot save ${inTheWay}`);
  });

  it.runIf(hasTerminal)(
    'shows the sheet on a terminal with 24-bit colours, no wider than that is',
    async () => {
      const dir = await temporaryFolder();
      const command = `stty cols 60; exec '${process.execPath}' '${MAIN}' demo`;
      const { stdout, exitCode } = await execa('script', ['-qec', command, '/dev/null'], {
        cwd: dir,
        stdin: 'ignore',
        env: COLOURFUL,
      });
      expect(exitCode).toBe(0);
      const lines = stdout.split(/\r?\n/);
      const drawn = lines.filter((line) => line.includes('▀'));
      expect(drawn.length).toBeGreaterThan(10);
      expect(drawn.length).toBeLessThan(30);
      for (const line of drawn) {
        expect(line.match(/▀/g)).toHaveLength(59);
        expect(line.endsWith('\x1b[0m')).toBe(true);
      }
      const closing = lines.findIndex((line) => line.startsWith('The maps are in'));
      expect(closing).toBe(lines.lastIndexOf(drawn.at(-1) ?? '') + 1);
    },
  );
});
