import { readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { owedNames } from '../../src/spool/survey.ts';
import { sweepFolder } from '../../src/storage/retention.ts';
import { filesBelow, folderOf, savedAnswer, spoolIn, workspaceOfTest } from './rig.ts';

const NO_LIMIT = 1e9;
const FAILURE = { error: 'image_base64 is empty.', code: 'no_image', status: 400 };

/** A job of two maps with a failure between them, as the handler returns it. */
async function severalImages(outputs: string) {
  const images = [
    { id: 'left', ...(await savedAnswer(outputs, 'a~1')) },
    FAILURE,
    await savedAnswer(outputs, 'a~3'),
  ] as const;
  return { images, failed: 1, timings_ms: { total: 5 }, warnings: [] };
}

type Several = Awaited<ReturnType<typeof severalImages>>;

/** What a worker after the one that kept it would deliver. */
async function deliveredLater(workspace: string, limit = NO_LIMIT): Promise<Several> {
  const [owed, ...more] = await spoolIn(workspace).owed();
  expect(more).toEqual([]);
  return (await owed?.read(limit))?.output as Several;
}

describe('a result with several pictures', () => {
  it('is given back to the byte, from small files', async () => {
    const { workspace, outputs, spool } = await workspaceOfTest();
    const answer = await severalImages(outputs);
    await spoolIn(workspace).keep({ jobId: 'a', output: answer });
    const dir = await folderOf(spool);
    expect(await filesBelow(dir)).toEqual(['a.json', 'a.picture', 'a~3.picture']);
    const text = await readFile(path.join(dir, 'a.json'), 'utf8');
    expect(JSON.parse(text)).toMatchObject({
      version: 2,
      output: { images: [{ image_base64: null }, FAILURE, { image_base64: null }] },
      pictures: [{ name: 'a~1.png' }, null, { name: 'a~3.png' }],
    });
    expect(JSON.stringify(await deliveredLater(workspace))).toBe(JSON.stringify(answer));
  });

  it('is given back to the byte also when the pictures were removed where they were saved', async () => {
    const { workspace, outputs } = await workspaceOfTest();
    const answer = await severalImages(outputs);
    await spoolIn(workspace).keep({ jobId: 'a', output: answer });
    for (const name of ['a~1.png', 'a~3.png']) await rm(path.join(outputs, name));
    expect(await deliveredLater(workspace)).toEqual(answer);
  });

  it('lacks one that is gone or has changed, says so there, and has the others', async () => {
    const { workspace, outputs, spool } = await workspaceOfTest();
    const answer = await severalImages(outputs);
    await spoolIn(workspace).keep({ jobId: 'a', output: answer });
    await rm(path.join(await folderOf(spool), 'a~3.picture'));
    await writeFile(path.join(outputs, 'a~3.png'), 'made again');
    const [first, second, third] = (await deliveredLater(workspace)).images;
    expect([first, second]).toEqual(answer.images.slice(0, 2));
    expect(third).toEqual({
      ...answer.images[2],
      image_base64: null,
      warnings: ['one', expect.stringContaining('its picture has changed')],
    });
  });

  it('lacks the largest where it does not fit, as in a first delivery', async () => {
    const { workspace, outputs } = await workspaceOfTest();
    const [small, large] = [
      await savedAnswer(outputs, 'a~1', Buffer.alloc(300, 1)),
      await savedAnswer(outputs, 'a~2', Buffer.alloc(3000, 2)),
    ];
    const output = { images: [small, large], failed: 0, timings_ms: {}, warnings: [] };
    await spoolIn(workspace).keep({ jobId: 'a', output });
    const later = await deliveredLater(workspace, 2000);
    expect(later).toMatchObject({
      images: [small, { image_base64: null, file_path: large.file_path }],
    });
  });

  it('has the others when one was never saved', async () => {
    const { workspace, outputs } = await workspaceOfTest();
    const answer = await severalImages(outputs);
    const images = [{ ...answer.images[0], file_path: null }, ...answer.images.slice(1)];
    await spoolIn(workspace).keep({ jobId: 'a', output: { ...answer, images } });
    const later = await deliveredLater(workspace);
    expect(later.images[0]).toMatchObject({ id: 'left', image_base64: null });
    expect(later.images.slice(1)).toEqual(answer.images.slice(1));
  });

  it('goes with all its pictures, and leaves those of others', async () => {
    const { workspace, outputs, spool } = await workspaceOfTest();
    const ours = spoolIn(workspace);
    await ours.keep({ jobId: 'a', output: await severalImages(outputs) });
    await ours.keep({ jobId: 'a-b', output: await savedAnswer(outputs, 'a-b') });
    await ours.forget('a');
    expect(await filesBelow(await folderOf(spool))).toEqual(['a-b.json', 'a-b.picture']);
  });

  it('keeps its pictures where they were saved while it is owed', async () => {
    const { workspace, outputs } = await workspaceOfTest();
    await spoolIn(workspace).keep({ jobId: 'a', output: await severalImages(outputs) });
    await savedAnswer(outputs, 'delivered~1');
    const old = Date.now() / 1000 - 600;
    for (const name of ['a~1.png', 'a~3.png', 'delivered~1.png']) {
      await utimes(path.join(outputs, name), old, old);
    }
    const limits = { maxAgeMs: 60_000, maxBytes: null };
    const stays = () => owedNames(outputs);
    const retention = { limits, extensions: ['png'], stays };
    await sweepFolder(outputs, retention, new AbortController().signal);
    const left = (await readdir(outputs)).filter((name) => name.endsWith('.png'));
    expect(left.sort()).toEqual(['a~1.png', 'a~3.png']);
  });

  it.each([
    [
      'no images',
      { output: { images: [] }, pictures: [{ name: 'a.png', sha256: '0'.repeat(64) }] },
    ],
    [
      'no answer for a picture',
      { output: { images: [1] }, pictures: [{ name: 'a.png', sha256: '0'.repeat(64) }] },
    ],
    [
      'a path for a picture',
      { output: { images: [1] }, pictures: [{ name: '../a', sha256: '0'.repeat(64) }] },
    ],
  ])('is removed when it is damaged: %s', async (_what, damage) => {
    const { workspace, outputs, spool } = await workspaceOfTest();
    await spoolIn(workspace).keep({ jobId: 'a', output: await severalImages(outputs) });
    const file = path.join(await folderOf(spool), 'a.json');
    await writeFile(file, JSON.stringify({ version: 2, job: 'a', worker: 'w', ...damage }));
    const later = spoolIn(workspace);
    expect(await later.owed()).toEqual([]);
    expect(later.lines).toMatchObject([{ msg: 'a kept result is damaged: removed' }]);
  });
});
