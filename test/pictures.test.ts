import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import sharp from 'sharp';
import { expect, it } from 'vitest';
import { APP_ROOT, SAMPLE_ROOT } from '../src/app.ts';
import { temporaryFolder } from './cli/cli.ts';

it('`npm run pictures` makes the pictures of the docs from the sample images, not too large for git', async () => {
  const folder = path.join(await temporaryFolder(), 'pictures');
  const script = path.join(APP_ROOT, 'scripts', 'pictures.ts');
  const { stdout } = await execa(process.execPath, [script, folder]);
  expect(await readdir(folder)).toEqual(['contact-sheet.jpg', 'outputs.jpg']);
  const bytes = await readFile(path.join(folder, 'contact-sheet.jpg'));
  expect(bytes.length).toBeLessThan(500_000);
  const { format, width = 0, height = 0 } = await sharp(bytes).metadata();
  expect({ format, width }).toEqual({ format: 'jpeg', width: 992 });
  const images = await readdir(path.join(SAMPLE_ROOT, 'images'));
  expect(height).toBeGreaterThan(images.length * 100); // no sample image is flatter than that
  const outputs = await readFile(path.join(folder, 'outputs.jpg'));
  expect(outputs.length).toBeLessThan(500_000);
  expect(await sharp(outputs).metadata()).toMatchObject({ format: 'jpeg', width: 3 * 328 - 8 });
  expect(stdout).toContain(`${width}x${height}, ${bytes.length} bytes`);
});
