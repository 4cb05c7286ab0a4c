import { execaNode } from 'execa';
import { describe, expect, it } from 'vitest';
import { LotusError } from '../../src/errors.ts';
import { decodeImage } from '../../src/image/decode.ts';
import { BOMBS } from '../corpus/images/bombs.ts';
import { IMAGE_FILES, IMAGES } from '../corpus/images.ts';

/** How a job of the corpus ends, as far as its image and its shape go: at 64 pixels an edge of 8 is the least. */
async function codeOf(bytes: Buffer): Promise<string | null> {
  try {
    const { pixels, width, height } = await decodeImage(bytes);
    expect(pixels).toHaveLength(width * height * 3);
    const isThin = (Math.min(width, height) * 64) / Math.max(width, height) < 8;
    return isThin ? 'shape_not_admitted' : null;
  } catch (error) {
    if (!(error instanceof LotusError)) throw error;
    expect(error.message).toMatch(/^[A-Z].*\.$/);
    return error.code;
  }
}

describe('the corpus of images', () => {
  it('has every case once', () => {
    const names = IMAGES.map(({ name }) => name);
    expect(names.length).toBeGreaterThanOrEqual(70);
    expect(new Set(names).size).toBe(names.length);
  });

  const { bombs: _, ...harmless } = IMAGE_FILES;
  describe.each(Object.entries(harmless))('%s', (_kind, cases) => {
    it.each(cases)('$name ends as it must', async (file) => {
      expect(await codeOf(file.bytes)).toBe(file.code);
    });
  });

  // In a process that may not take more than its share, so that a hole is a red test and not a dead machine.
  it.each(BOMBS.map((file, i) => ({ ...file, i })))(
    'bombs: $name ends as it must',
    async (file) => {
      const { stdout } = await execaNode(
        'test/fixtures/image/decodes-a-bomb.ts',
        [String(file.i)],
        {
          timeout: 60_000,
          killSignal: 'SIGKILL',
          // Or what is measured may be garbage of JavaScript's that nobody has collected yet.
          nodeOptions: ['--max-semi-space-size=1'],
        },
      );
      const { code, bytes, grownMb } = JSON.parse(stdout);
      expect(code).toBe(file.code);
      expect(bytes).toBeLessThanOrEqual(file.most.bytes);
      expect(grownMb).toBeLessThan(file.most.grownMb);
    },
  );
});
