import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { start, temporaryFolder } from './cli.ts';

describe('lotus-worker demo', () => {
  it('writes a map for each sample image and says where', async () => {
    const dir = await temporaryFolder();
    const run = await start(['demo'], {}, dir);
    expect(run.exitCode).toBe(0);
    const out = path.join(dir, 'lotus-demo');
    expect((await readdir(out)).toSorted()).toEqual([
      'balls.png',
      'corridor.png',
      'mountains.png',
      'shapes.png',
    ]);
    expect(run.stderr).toContain(`The maps are in ${out}`);
  });
});
