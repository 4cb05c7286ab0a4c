import { spawnSync } from 'node:child_process';
import { constants, existsSync } from 'node:fs';
import {
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import type { Owed } from '../../src/runpod/outbox.ts';
import { contentsOf } from '../../src/spool/contents.ts';
import { writeWhole } from '../../src/storage/files.ts';
import { type Owner, thisProcess } from '../../src/storage/owner.ts';
import { filesBelow, folderOf, leftFolder, savedAnswer, spoolIn, workspaceOfTest } from './rig.ts';

const NO_LIMIT = 1e9;

/** What a worker after this one would deliver. */
async function outputsOf(owed: readonly Owed[], limit = NO_LIMIT): Promise<unknown[]> {
  return await Promise.all(owed.map(async (one) => (await one.read(limit))?.output));
}

/** A file's time, so long ago. */
async function age(file: string, seconds: number): Promise<void> {
  const at = Date.now() / 1000 - seconds;
  await utimes(file, at, at);
}

describe('a result that was kept', () => {
  it('is given back to the byte to the worker of the same name after it, picture and all', async () => {
    const { workspace, outputs } = await workspaceOfTest();
    const answer = await savedAnswer(outputs, 'job-1');
    await spoolIn(workspace).keep({ jobId: 'job-1', output: answer });
    const owed = await spoolIn(workspace).owed();
    expect(owed).toMatchObject([{ jobId: 'job-1', workerId: 'worker1' }]);
    expect(owed[0]?.ageMs).toBeLessThan(60_000);
    expect(JSON.stringify(await outputsOf(owed))).toBe(JSON.stringify([answer]));
  });

  it('is given back to the byte with where its files were uploaded to', async () => {
    const { workspace, outputs } = await workspaceOfTest();
    const saved = await savedAnswer(outputs, 'job-1');
    const { file_path } = saved;
    const url = 'https://store.example.com/maps/job-1/job-1.png?X-Amz-Signature=abc&b=c%2Fd';
    const uploaded = { ...saved, image_base64: null, files: [{ format: 'png', file_path, url }] };
    const inPart = { ...saved, files: [{ format: 'npy', file_path: null, url }] };
    await spoolIn(workspace).keep({ jobId: 'job-1', output: uploaded });
    await spoolIn(workspace).keep({ jobId: 'job-2', output: inPart });
    const outputsThen = await outputsOf(await spoolIn(workspace).owed());
    expect(outputsThen.map((output) => JSON.stringify(output)).toSorted()).toEqual(
      [uploaded, inPart].map((output) => JSON.stringify(output)).toSorted(),
    );
  });

  it('is a small record without the picture, and without anything that is secret', async () => {
    const { workspace, outputs, spool } = await workspaceOfTest();
    const answer = await savedAnswer(outputs, 'a', Buffer.alloc(300_000, 7));
    await spoolIn(workspace).keep({ jobId: 'a', output: answer });
    const text = await readFile(path.join(await folderOf(spool), 'a.json'), 'utf8');
    expect(JSON.parse(text)).toEqual({
      version: 1,
      job: 'a',
      worker: 'worker1',
      output: { ...answer, image_base64: null },
      picture: { name: 'a.png', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
    });
    expect(text.length).toBeLessThan(1_000);
  });

  it('is a failure as well as a map', async () => {
    const { workspace } = await workspaceOfTest();
    const failure = { error: 'Unauthorized', status: 401, code: 'unauthorized' };
    await spoolIn(workspace).keep({ jobId: 'a', output: failure });
    expect(await outputsOf(await spoolIn(workspace).owed())).toEqual([failure]);
  });

  it('is not owed by the worker that has it in hand, and gone when that forgets it', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const ours = spoolIn(workspace);
    await ours.keep({ jobId: 'a', output: 1 });
    expect(await ours.owed()).toEqual([]);
    await ours.forget('a');
    await ours.forget('never kept');
    expect(await filesBelow(spool)).toEqual([]);
    await ours.close();
    expect(existsSync(spool)).toBe(false);
  });

  it('is replaced by a later one of the same job', async () => {
    const { workspace } = await workspaceOfTest();
    const ours = spoolIn(workspace);
    await ours.keep({ jobId: 'a', output: 1 });
    await ours.keep({ jobId: 'a', output: 2 });
    expect(await outputsOf(await spoolIn(workspace).owed())).toEqual([2]);
  });

  it.each(['../../evil', '.hidden', 'a/b', '\u0000', 'x'.repeat(500), 'CON', 'beat', 'é'])(
    'lies in its folder, whatever its job is called: %j',
    async (jobId) => {
      const { workspace, spool } = await workspaceOfTest();
      await spoolIn(workspace, { workerId: jobId }).keep({ jobId, output: 1 });
      const files = await filesBelow(spool);
      expect(files).toHaveLength(1);
      expect(files[0]?.split(path.sep)).toHaveLength(3);
      const owed = await spoolIn(workspace, { workerId: jobId }).owed();
      expect(owed).toMatchObject([{ jobId, workerId: jobId }]);
    },
  );

  it('is refused when its record is larger than any of ours', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const kept = spoolIn(workspace).keep({ jobId: 'a', output: 'x'.repeat(1_050_000) });
    await expect(kept).rejects.toThrow(/its record has 1050\d+ bytes/);
    expect(await readdir(path.dirname(spool))).toEqual([]);
  });

  it('is as old as the volume says', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const former = spoolIn(workspace);
    await former.keep({ jobId: 'old', output: 1 });
    await former.keep({ jobId: 'new', output: 2 });
    await age(path.join(await folderOf(spool), 'old.json'), 600);
    const owed = await spoolIn(workspace).owed();
    expect(owed.map(({ jobId }) => jobId)).toEqual(['old', 'new']);
    expect(owed[0]?.ageMs).toBeGreaterThan(590_000);
    expect(owed[0]?.ageMs).toBeLessThan(700_000);
  });
});

describe('more records than are delivered at once', () => {
  it('are found from the oldest on, whatever later versions have written beside them', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const dir = await leftFolder(spool);
    const put = async (name: string, text: string, seconds: number) => {
      const file = path.join(dir, `${name}.json`);
      await writeFile(file, text);
      await age(file, seconds);
    };
    const mine = (job: string) =>
      JSON.stringify({ version: 1, job, worker: 'w', output: 1, picture: null });
    for (let n = 0; n < 320; n += 1) await put(`later-${n}`, '{"version":2}', 900);
    // Not in the order of their names.
    for (let n = 0; n < 120; n += 1) await put(`job-${n}`, mine(`job-${n}`), 300 + n);
    const after = spoolIn(workspace);
    await after.owed(); // a look reads no more of them
    const owed = await after.owed();
    expect(owed.map(({ jobId }) => jobId)).toEqual(
      Array.from({ length: 100 }, (_, n) => `job-${119 - n}`),
    );
  });
});

describe('a clock that was set back', () => {
  it('has a record begin its time again, and no worker live for ever', async () => {
    const { workspace, spool } = await workspaceOfTest();
    await spoolIn(workspace, { workerId: 'former' }).keep({ jobId: 'a', output: 1 });
    const dir = await folderOf(spool, 'former');
    await writeFile(path.join(dir, 'beat'), '');
    for (const file of ['a.json', 'beat']) await age(path.join(dir, file), -7_200);
    const taker = spoolIn(workspace, { workerId: 'taker' });
    const first = Date.now();
    expect(await taker.owed()).toMatchObject([{ jobId: 'a', ageMs: 0 }]);
    const [file = ''] = await filesBelow(spool);
    expect((await lstat(path.join(spool, file))).mtimeMs).toBeLessThan(first + 60_000);
  });
});

describe('a picture that is owed', () => {
  /** Worker A keeps job X and is gone; what comes of it when C delivers it. */
  async function delivered(meanwhile: (picture: string, workspace: string) => Promise<unknown>) {
    const { workspace, outputs, spool } = await workspaceOfTest();
    const answer = await savedAnswer(outputs, 'X');
    const former = spoolIn(workspace, { workerId: 'A' });
    await former.keep({ jobId: 'X', output: answer });
    await meanwhile(answer.file_path, workspace);
    await former.close();
    const taker = spoolIn(workspace, { workerId: 'C' });
    const owed = (await taker.owed()).filter(({ workerId }) => workerId === 'A');
    const output = await outputsOf(owed);
    await taker.forget('X');
    return { answer, output, left: (await filesBelow(spool)).filter((file) => /C.*X/.test(file)) };
  }

  it('is as it was made, also when another worker has made the job again', async () => {
    const again = async (picture: string, workspace: string) => {
      await writeWhole(picture, 'made on B');
      const image_base64 = Buffer.from('made on B').toString('base64');
      const output = { image_base64, file_path: picture, warnings: [] };
      await spoolIn(workspace, { workerId: 'B' }).keep({ jobId: 'X', output });
    };
    const { answer, output, left } = await delivered(again);
    expect([output, left]).toEqual([[answer], []]);
  });

  it('is there also when it was removed where it was saved', async () => {
    const { answer, output } = await delivered((picture) => rm(picture));
    expect(output).toEqual([answer]);
  });

  it('goes with its record, and a minute after it was left without one', async () => {
    const { outputs } = await workspaceOfTest();
    const { file_path } = await savedAnswer(outputs, 'X');
    const dir = path.join(outputs, 'of a worker');
    await mkdir(dir);
    await link(file_path, path.join(dir, 'X.picture'));
    await contentsOf(dir, Date.now() + 50_000);
    expect(await readdir(dir)).toEqual(['X.picture']);
    await contentsOf(dir, Date.now() + 70_000);
    expect(await readdir(dir)).toEqual([]);
  });
});

describe('a picture that is not as it was', () => {
  async function readWithPicture(spoil: (picture: string) => Promise<unknown>, limit = NO_LIMIT) {
    const { workspace, outputs, spool } = await workspaceOfTest();
    const answer = await savedAnswer(outputs, 'a', Buffer.alloc(30_000, 7));
    await spoolIn(workspace).keep({ jobId: 'a', output: answer });
    // As where there are no links.
    await rm(path.join(await folderOf(spool), 'a.picture'));
    await spoil(answer.file_path);
    const [output] = await outputsOf(await spoolIn(workspace).owed(), limit);
    return output as typeof answer;
  }

  it.each([
    ['is gone', (file: string) => rm(file), /picture is gone/],
    ['has other bytes', (file: string) => writeFile(file, 'other'), /picture has changed/],
    ['is cut off', (file: string) => truncate(file, 10), /picture has changed/],
    ['is a folder now', (file: string) => rm(file).then(() => mkdir(file)), /cannot be read/],
    ['is huge', (file: string) => truncate(file, 200_000_000), /cannot be read/],
    [
      'is a link to another',
      (file: string) => rename(file, `${file}.x`).then(() => symlink(`${file}.x`, file)),
      /cannot be read \(ELOOP\)/,
    ],
    ['is a pipe', (file: string) => rm(file).then(() => execa('mkfifo', [file])), /cannot be read/],
  ])('%s: the rest of the answer goes out, and says so', async (_what, spoil, why) => {
    const answer = await readWithPicture(spoil);
    expect(answer).toMatchObject({ image_base64: null, min: 0.25 });
    expect(answer.warnings).toEqual(['one', expect.stringMatching(why)]);
  });

  it('is left out where it does not fit, as in a first delivery', async () => {
    const answer = await readWithPicture(async () => {}, 5_000);
    expect(answer.image_base64).toBeNull();
    expect(answer.warnings).toEqual(['one', expect.stringContaining('at most 5000 are taken')]);
  });

  it('was never saved: the rest is kept all the same', async () => {
    const { workspace } = await workspaceOfTest();
    const output = { image_base64: 'AAAA', file_path: null, warnings: [] };
    await spoolIn(workspace).keep({ jobId: 'a', output });
    expect(await outputsOf(await spoolIn(workspace).owed())).toMatchObject([
      { image_base64: null, warnings: [expect.stringContaining('was never saved')] },
    ]);
  });
});

describe('a worker that is gone', () => {
  const QUICK = { timing: { beat: 1e6, gone: 60_000 } };

  /** One that has kept a result and beats no more. */
  async function gone(workspace: string, workerId = 'former', jobId = 'a', endpoint = 'ep1') {
    await spoolIn(workspace, { workerId, endpoint, ...QUICK }).keep({ jobId, output: jobId });
    const spool = path.join(workspace, 'output_images', '.spool');
    const dir = await folderOf(spool, workerId, endpoint);
    await writeFile(path.join(dir, 'beat'), '');
    await age(path.join(dir, 'beat'), 61);
    return dir;
  }

  it('leaves what it owes to the first that looks, in its own name, and no folder', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const dir = await gone(workspace);
    const taker = spoolIn(workspace, { workerId: 'taker' });
    const owed = await taker.owed();
    expect(owed).toMatchObject([{ jobId: 'a', workerId: 'former' }]);
    expect(await outputsOf(owed)).toEqual(['a']);
    await expect(lstat(dir)).rejects.toThrow('ENOENT');
    await taker.forget('a');
    expect(await taker.owed()).toEqual([]);
    await taker.close();
    expect(existsSync(spool)).toBe(false);
  });

  it('is not one whose beat is young, nor one that has none yet', async () => {
    const { workspace } = await workspaceOfTest();
    const dir = await gone(workspace);
    await age(path.join(dir, 'beat'), 50);
    await spoolIn(workspace, { workerId: 'new' }).keep({ jobId: 'b', output: 'b' });
    expect(await spoolIn(workspace, { workerId: 'taker' }).owed()).toEqual([]);
  });

  it('is not one that beats', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const alive = spoolIn(workspace, { workerId: 'alive', timing: { beat: 20 } });
    await alive.keep({ jobId: 'a', output: 1 });
    const beat = path.join(await folderOf(spool, 'alive'), 'beat');
    await age(beat, 1_000);
    const old = (await lstat(beat)).mtimeMs;
    await expect.poll(async () => (await lstat(beat)).mtimeMs).toBeGreaterThan(old + 900_000);
    expect(await spoolIn(workspace, { workerId: 'taker' }).owed()).toEqual([]);
  });

  it('is known at once when it has ended in order', async () => {
    const { workspace } = await workspaceOfTest();
    const former = spoolIn(workspace, { workerId: 'former' });
    await former.keep({ jobId: 'a', output: 1 });
    await former.close();
    expect(await spoolIn(workspace, { workerId: 'taker' }).owed()).toMatchObject([{ jobId: 'a' }]);
  });

  it('is taken over by one of several that look at the same time', async () => {
    const { workspace } = await workspaceOfTest();
    const ids = Array.from({ length: 20 }, (_, i) => `former-${i}`);
    for (const id of ids) await gone(workspace, id, `job-${id}`);
    const takers = ['t1', 't2', 't3'].map((workerId) => spoolIn(workspace, { workerId }));
    const owed = await Promise.all(takers.map((taker) => taker.owed()));
    const found = owed.flat().map(({ jobId }) => jobId);
    expect(found.sort()).toEqual(ids.map((id) => `job-${id}`).sort());
    expect(takers.flatMap(({ lines }) => lines)).toEqual([]);
  });

  it('leaves what it had taken over itself, too', async () => {
    const { workspace, spool } = await workspaceOfTest();
    await gone(workspace);
    for (const workerId of ['second', 'third', 'fourth']) {
      const taker = spoolIn(workspace, { workerId, ...QUICK });
      await expect.poll(() => taker.owed()).toMatchObject([{ jobId: 'a', workerId: 'former' }]);
      await age(path.join(await folderOf(spool, workerId), 'beat'), 61);
    }
    const last = spoolIn(workspace, { workerId: 'last' });
    await expect.poll(() => last.owed()).toMatchObject([{ jobId: 'a' }]);
    await last.forget('a');
    await expect.poll(() => last.owed().then(() => filesBelow(spool))).toEqual([]);
    await last.close();
    await expect.poll(() => existsSync(spool)).toBe(false);
  });

  it('loses nothing, however often its folder is taken from under it', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const slow = spoolIn(workspace, { workerId: 'slow' });
    const taker = spoolIn(workspace, { workerId: 'taker', timing: { beat: 1e6, gone: -1e9 } });
    const ids = Array.from({ length: 60 }, (_, i) => `job-${i}`);
    for (const jobId of ids) {
      await Promise.all([slow.keep({ jobId, output: jobId }), taker.owed()]);
    }
    const owed = await taker.owed();
    // One may be there twice, where it was taken just when it had its name.
    expect(new Set(owed.map(({ jobId }) => jobId))).toEqual(new Set(ids));
    for (const { jobId } of owed) await taker.forget(jobId);
    // What was half written then goes when it is a minute old.
    expect((await filesBelow(spool)).filter((file) => file.endsWith('.json'))).toEqual([]);
  });

  it('of another endpoint is none of ours', async () => {
    const { workspace } = await workspaceOfTest();
    await gone(workspace, 'former', 'a', 'ep2');
    expect(await spoolIn(workspace, { workerId: 'taker' }).owed()).toEqual([]);
  });

  it('that was only frozen does no harm when it goes on', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const frozen = spoolIn(workspace, { workerId: 'frozen', ...QUICK });
    await frozen.keep({ jobId: 'a', output: 'a' });
    await frozen.owed(); // and so it beats
    await age(path.join(await folderOf(spool, 'frozen'), 'beat'), 61);
    const taker = spoolIn(workspace, { workerId: 'taker' });
    expect(await taker.owed()).toMatchObject([{ jobId: 'a' }]);
    await frozen.keep({ jobId: 'b', output: 'b' });
    await frozen.forget('a');
    expect(await frozen.owed()).toEqual([]);
    expect(await taker.owed()).toMatchObject([{ jobId: 'a' }]);
    await frozen.forget('b');
    await taker.forget('a');
    expect(await filesBelow(spool)).toEqual([]);
  });
});

describe('two lives of one worker id', () => {
  const here = thisProcess();

  /** What a life that is not over in order has left, and where. */
  async function kept(workspace: string, spool: string, owner: Owner) {
    const former = spoolIn(workspace, { owner });
    await former.keep({ jobId: 'a', output: 1 });
    return { former, dir: await folderOf(spool) };
  }

  it.each([
    ['its process is gone', { ...here, pid: spawnSync('true').pid }],
    ['its container is gone', { ...here, machine: 'another PID namespace' }],
  ])('follow each other without a wait when %s', async (_what, owner) => {
    const { workspace, spool } = await workspaceOfTest();
    await kept(workspace, spool, owner);
    const after = spoolIn(workspace, { owner: here });
    expect([await after.owed(), after.lines]).toMatchObject([[{ jobId: 'a' }], []]);
  });

  it('have each their own while both live, which is told', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const { former, dir } = await kept(workspace, spool, here);
    const after = spoolIn(workspace, { owner: here });
    expect(await after.owed()).toEqual([]);
    expect(after.lines).toMatchObject([
      { err: { message: expect.stringContaining('another worker of our id is alive') } },
    ]);
    await after.keep({ jobId: 'b', output: 2 });
    await former.close(); // what it owes is another's at once, and nothing else
    const taker = spoolIn(workspace, { workerId: 'taker' });
    expect(await taker.owed()).toMatchObject([{ jobId: 'a' }]);
    await expect(lstat(dir)).rejects.toThrow('ENOENT');
  });

  it('are told apart from workers whose id begins as theirs', async () => {
    const { workspace } = await workspaceOfTest();
    const owner = { ...here, machine: 'another' };
    await spoolIn(workspace, { workerId: 'worker1-2', owner }).keep({ jobId: 'a', output: 1 });
    expect(await spoolIn(workspace, { owner: here }).owed()).toEqual([]);
  });
});

describe('a beat', () => {
  it('is no pipe: it is neither waited for nor believed', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const ours = spoolIn(workspace);
    await ours.keep({ jobId: 'a', output: 1 });
    const beat = path.join(await folderOf(spool), 'beat');
    await rm(beat);
    await execa('mkfifo', [beat]);
    await expect(ours.owed()).rejects.toThrow('ENXIO');
    // Also with somebody at its other end.
    const reader = await open(beat, constants.O_RDONLY | constants.O_NONBLOCK);
    await expect(ours.owed()).rejects.toThrow('is no plain file: remove it');
    await reader.close();
    await age(beat, 61);
    expect(await spoolIn(workspace, { workerId: 'taker' }).owed()).toEqual([]);
  });
});

describe('what is no record', () => {
  it.each([
    ['garbage', (file: string) => writeFile(file, 'garbage')],
    ['nothing', (file: string) => writeFile(file, '')],
    ['half of one', (file: string) => truncate(file, 40)],
    ['another JSON', (file: string) => writeFile(file, '{"version":1,"job":7}')],
    ['too large', (file: string) => truncate(file, 1e9)],
    ['a path in the place of a picture', (file: string) => writeFile(file, WITH_PATH)],
    ['an id that no URL can have', (file: string) => writeFile(file, WITH_ID)],
    ['a picture, and no answer', (file: string) => writeFile(file, WITHOUT_ANSWER)],
    ['a link', (file: string) => rename(file, `${file}.x`).then(() => symlink(`${file}.x`, file))],
    ['a pipe', (file: string) => rm(file).then(() => execa('mkfifo', [file]))],
  ])('is removed and logged, and the others are found: %s', async (_what, spoil) => {
    const { workspace, spool } = await workspaceOfTest();
    const former = spoolIn(workspace);
    await former.keep({ jobId: 'bad', output: { a: 1 } });
    await former.keep({ jobId: 'good', output: 1 });
    const file = path.join(await folderOf(spool), 'bad.json');
    await spoil(file);
    const after = spoolIn(workspace);
    expect(await after.owed()).toMatchObject([{ jobId: 'good' }]);
    expect(after.lines).toMatchObject([
      { file: expect.stringMatching(/bad\.json$/), msg: 'a kept result is damaged: removed' },
    ]);
    const left = (await filesBelow(spool)).map((one) => path.basename(one));
    expect(left.filter((name) => !name.endsWith('.x'))).toEqual(['good.json']);
  });

  it('is left alone when a later version has written it, or when it is a folder', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const dir = await leftFolder(spool);
    await mkdir(path.join(dir, 'folder.json'));
    await writeFile(path.join(dir, 'later.json'), '{"version":3,"what":"ever"}');
    const after = spoolIn(workspace);
    expect([await after.owed(), after.lines]).toEqual([[], []]);
    const own = await folderOf(spool);
    const [taken = ''] = (await readdir(own)).filter((name) => name.startsWith('taken~'));
    expect(await readdir(path.join(own, taken))).toEqual(['beat', 'folder.json', 'later.json']);
  });

  it('is removed when it is half written and old', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const dir = await leftFolder(spool);
    const names = ['a', 'b'].map((c) => `.${c.repeat(8)}-0000-0000-0000-000000000000.partial`);
    for (const name of names) await writeFile(path.join(dir, name), 'half');
    await age(path.join(dir, String(names[0])), 61);
    await spoolIn(workspace).owed();
    expect((await filesBelow(spool)).map((file) => path.basename(file))).toEqual([names[1]]);
  });
});

const WITH_PATH = JSON.stringify({
  version: 1,
  job: 'bad',
  worker: 'w',
  output: {},
  picture: { name: '../../../etc/passwd', sha256: '0'.repeat(64) },
});

const WITH_ID = '{"version":1,"job":"\\ud800","worker":"w","output":1,"picture":null}';

const WITHOUT_ANSWER = JSON.stringify({
  version: 1,
  job: 'bad',
  worker: 'w',
  output: {},
  picture: { name: 'a.png', sha256: '0'.repeat(64) },
});

describe('a link', () => {
  it.each([
    ['the folder of pictures', []],
    ['the spool', ['.spool']],
    ["an endpoint's folder", ['.spool', 'ep1']],
  ])('in the place of %s is not followed', async (_what, names) => {
    const { workspace, outputs } = await workspaceOfTest();
    const outside = (await workspaceOfTest()).workspace;
    await writeFile(path.join(outside, 'a.json'), 'of somebody else');
    const place = path.join(outputs, ...names);
    await rm(place, { recursive: true, force: true });
    await mkdir(path.dirname(place), { recursive: true });
    await symlink(outside, place);
    const spool = spoolIn(workspace);
    await expect(spool.keep({ jobId: 'a', output: 1 })).rejects.toThrow(
      /outside of|no folder of ours/,
    );
    await expect(spool.owed()).rejects.toThrow(/outside of|no folder of ours/);
    await spool.forget('a').catch(() => {}); // it may say so, or find nothing
    await spool.close();
    expect(await readdir(outside)).toEqual(['a.json', 'output_images']);
    expect(await readFile(path.join(outside, 'a.json'), 'utf8')).toBe('of somebody else');
  });

  it('in the place of a neighbour is neither taken over nor followed', async () => {
    const { workspace, spool } = await workspaceOfTest();
    const outside = (await workspaceOfTest()).workspace;
    await mkdir(path.join(spool, 'ep1'), { recursive: true });
    await symlink(outside, path.join(spool, 'ep1', 'neighbour'));
    await age(outside, 3_600);
    expect(await spoolIn(workspace).owed()).toEqual([]);
    expect(await readdir(outside)).toEqual(['output_images']);
    expect(await readdir(path.join(spool, 'ep1'))).toEqual([
      'neighbour',
      expect.stringMatching(/^worker1~/),
    ]);
  });

  it('to another folder of the workspace is a fine place for pictures', async () => {
    const { workspace, outputs } = await workspaceOfTest();
    await rename(outputs, path.join(workspace, 'elsewhere'));
    await symlink('elsewhere', outputs);
    const answer = await savedAnswer(outputs, 'a');
    await spoolIn(workspace).keep({ jobId: 'a', output: answer });
    expect(await outputsOf(await spoolIn(workspace).owed())).toEqual([answer]);
  });
});

describe('a record that cannot be removed', () => {
  it('is not delivered again by the worker that is done with it, and removed when that is possible', async () => {
    const { workspace, spool } = await workspaceOfTest();
    await spoolIn(workspace).keep({ jobId: 'a', output: 1 });
    const after = spoolIn(workspace);
    expect(await after.owed()).toHaveLength(1);
    const [name = ''] = await filesBelow(spool);
    const file = path.join(spool, name);
    // Not by its mode: the tests may run as root.
    await rm(file);
    await mkdir(path.join(file, 'in the way'), { recursive: true });
    await expect(after.forget('a')).rejects.toThrow();
    await rm(file, { recursive: true });
    await writeFile(file, '{"version":1,"job":"a","worker":"w","output":1,"picture":null}');
    expect(await after.owed()).toEqual([]);
    expect(await filesBelow(spool)).toEqual([]);
  });
});
