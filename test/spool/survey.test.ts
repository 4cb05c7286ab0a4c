import { mkdir, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { owedNames, removeAbandoned } from '../../src/spool/survey.ts';
import { filesBelow, folderOf, spoolIn, workspaceOfTest } from './rig.ts';

const DAY_MS = 86_400_000;

describe('what is owed on a volume', () => {
  it('is what every worker of every endpoint has kept, and what was taken over', async () => {
    const { workspace, outputs, spool } = await workspaceOfTest();
    const former = spoolIn(workspace, { workerId: 'former' });
    await former.keep({ jobId: 'a', output: 1 });
    await former.close();
    await spoolIn(workspace, { workerId: 'taker' }).owed();
    await spoolIn(workspace, { workerId: 'other' }).keep({ jobId: 'b/c', output: 1 });
    await spoolIn(workspace, { endpoint: 'ep2' }).keep({ jobId: 'd', output: 1 });
    const names = await owedNames(outputs);
    expect([...names].sort()).toEqual(['a', expect.stringMatching(/^b_c~[0-9a-f]{12}$/), 'd']);
    await rm(spool, { recursive: true });
    expect(await owedNames(outputs)).toEqual(new Set());
  });

  it('is not known where the volume does not say', async () => {
    const { outputs } = await workspaceOfTest();
    // An error that is none of those that say that there is nothing: the tests may run as root, whom no mode stops.
    await expect(owedNames(path.join(outputs, 'x'.repeat(300)))).rejects.toThrow('ENAMETOOLONG');
  });

  it('is nothing that a link leads to', async () => {
    const { outputs, spool } = await workspaceOfTest();
    const outside = await workspaceOfTest();
    await writeFile(path.join(outside.outputs, 'a.json'), '');
    await mkdir(spool);
    await symlink(outside.outputs, path.join(spool, 'ep1'));
    expect(await owedNames(outputs)).toEqual(new Set());
    await rm(spool, { recursive: true });
    await symlink(path.dirname(outside.outputs), spool);
    expect(await owedNames(outputs)).toEqual(new Set());
    await removeAbandoned(outputs, Date.now() + 9 * DAY_MS);
    expect(await readdir(outside.outputs)).toEqual(['a.json']);
  });
});

describe('what nobody delivers any more', () => {
  it('goes also when its date is in the future', async () => {
    const { workspace, outputs, spool } = await workspaceOfTest();
    await spoolIn(workspace, { endpoint: 'left', workerId: 'w' }).keep({ jobId: 'a', output: 1 });
    expect(await removeAbandoned(outputs, Date.now() - DAY_MS - 60_000)).toBe(1);
    expect(await filesBelow(spool)).toEqual([]);
  });

  it('goes after a day, with its folders; what is younger stays, and what is not ours', async () => {
    const { workspace, outputs, spool } = await workspaceOfTest();
    await spoolIn(workspace, { endpoint: 'left', workerId: 'w' }).keep({ jobId: 'a', output: 1 });
    await spoolIn(workspace, { endpoint: 'served' }).keep({ jobId: 'b', output: 1 });
    await writeFile(path.join(await folderOf(spool, 'w', 'left'), 'notes.txt'), '');
    const old = Date.now() / 1000 - 86_400 - 60;
    const left = await folderOf(spool, 'w', 'left');
    for (const name of ['a.json', 'notes.txt', 'beat', '.', '..']) {
      await utimes(path.join(left, name), old, old);
    }
    expect(await removeAbandoned(outputs, Date.now())).toBe(1);
    expect(await filesBelow(spool)).toEqual([
      expect.stringMatching(/^left\/w~.*\/notes.txt$/),
      expect.stringMatching(/^served\/worker1~.*\/b.json$/),
    ]);
    await rm(path.join(left, 'notes.txt'));
    await removeAbandoned(outputs, Date.now() + DAY_MS / 2); // its folder was written to just now
    expect(await readdir(spool)).toEqual(['left', 'served']);
    await removeAbandoned(outputs, Date.now() + DAY_MS + 60_000);
    await removeAbandoned(outputs, Date.now() + 2 * (DAY_MS + 60_000));
    expect(await readdir(spool)).toEqual([]);
  });
});
