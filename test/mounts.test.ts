import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { APP_ROOT } from '../src/app.ts';
import { type Mount, mountOf, parseMounts, readMounts } from '../src/mounts.ts';

let dir = '';
beforeEach(async () => {
  dir = await realpath(await mkdtemp(path.join(os.tmpdir(), 'mounts-test-')));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const at = (point: string, filesystem = 'ext4', readOnly = false): Mount => ({
  point,
  filesystem,
  readOnly,
});

/** Mounting is root's, in a namespace of its own. */
const mayMount = spawnSync('unshare', ['-m', 'true']).status === 0;

/** What `readMounts` and `mountOf` say of some files after a few mounts, in a namespace of its own. */
async function inNamespace(script: string, files: readonly string[]): Promise<(Mount | null)[]> {
  const code = `
    import { mountOf, readMounts } from ${JSON.stringify(path.join(APP_ROOT, 'src/mounts.ts'))};
    const mounts = readMounts();
    const found = process.argv.slice(1).map((file) => mountOf(file, mounts) ?? null);
    console.log(JSON.stringify(found));
  `;
  const node = [process.execPath, '--input-type=module', '-e', code, ...files];
  const all = ['-m', 'sh', '-euc', `${script}\nexec "$@"`, 'sh', ...node];
  const { stdout } = await execa('unshare', all, { cwd: dir });
  return JSON.parse(stdout);
}

describe('parseMounts', () => {
  it('reads the point, the file system and whether it is read-only, in the order of the lines', () => {
    const mounts = parseMounts(
      [
        '27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,resv_strict',
        '301 27 0:54 / /runpod-volume ro,nosuid - fuse.mfs mfs#eu.example:9421 rw,user_id=0',
        '',
      ].join('\n'),
    );
    expect(mounts).toEqual([at('/'), at('/runpod-volume', 'fuse.mfs', true)]);
  });

  it.each([
    ['none', '36 35 98:0 /root /workspace rw,noatime - ext3 /dev/root rw'],
    ['one', '36 35 98:0 /root /workspace rw,noatime shared:7 - ext3 /dev/root rw'],
    [
      'several',
      '36 35 98:0 /root /workspace rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw',
    ],
  ])('takes a line with %s of the optional fields', (_count, line) => {
    expect(parseMounts(line)).toEqual([at('/workspace', 'ext3')]);
  });

  it.each([
    ['\\040', ' '],
    ['\\011', '\t'],
    ['\\012', '\n'],
    ['\\134', '\\'],
    ['\\134040', '\\040'], // a backslash and three digits, and no space
    ['\\040-\\040', ' - '], // what stands between the two halves of a line
    ['ä', 'ä'],
  ])('reads %s in a name as the kernel means it', (written, meant) => {
    const line = `40 27 0:60 / /mnt/a${written}b rw - tmpfs none rw`;
    expect(parseMounts(line)).toEqual([at(`/mnt/a${meant}b`, 'tmpfs')]);
  });

  it.each([
    ['the mount', 'ro,relatime', 'rw'],
    ['the file system', 'rw,relatime', 'ro,errors=remount-ro'],
  ])('sees that %s is read-only', (_which, options, superOptions) => {
    const [mount] = parseMounts(`40 27 0:60 / /data ${options} - ext4 /dev/sdb ${superOptions}`);
    expect(mount?.readOnly).toBe(true);
  });

  it('takes no option that only has ro in it for read-only', () => {
    const [mount] = parseMounts(
      '40 27 0:60 / /data rw,norelatime - ext4 /dev/sdb rw,errors=remount-ro,prjquota,ro2',
    );
    expect(mount?.readOnly).toBe(false);
  });

  it('gives nothing for nothing', () => {
    expect(parseMounts('')).toEqual([]);
  });

  it.runIf(process.platform === 'linux')('reads those of this machine', () => {
    const mounts = readMounts();
    expect(mounts.map(({ point }) => point)).toContain('/');
    expect(mounts.find(({ point }) => point === '/proc')?.filesystem).toBe('proc');
  });
});

describe('mountOf', () => {
  it('is the deepest one that the path lies below', async () => {
    await mkdir(`${dir}/a/b`, { recursive: true });
    const mounts = [at('/'), at(dir, 'nfs'), at(`${dir}/a`, 'btrfs'), at(`${dir}/a/b`, 'xfs')];
    expect(mountOf(dir, mounts)?.filesystem).toBe('nfs');
    expect(mountOf(`${dir}/c`, mounts)?.filesystem).toBe('nfs');
    expect(mountOf(`${dir}/a`, mounts)?.filesystem).toBe('btrfs');
    expect(mountOf(`${dir}/a/b/c`, mounts)?.filesystem).toBe('xfs');
    expect(mountOf(path.dirname(dir), mounts)?.filesystem).toBe('ext4');
  });

  it('is the last one of those on the same point', () => {
    const mounts = [at('/', 'rootfs'), at('/', 'overlay'), at(dir, 'autofs'), at(dir, 'nfs4')];
    expect(mountOf(dir, mounts)?.filesystem).toBe('nfs4');
    expect(mountOf('/', mounts)?.filesystem).toBe('overlay');
  });

  it.each(['2', '-old', '.bak'])('is none whose name only begins alike: …%s', async (ending) => {
    await mkdir(`${dir}/workspace`);
    const mounts = [at('/'), at(`${dir}/workspace`, 'nfs')];
    expect(mountOf(`${dir}/workspace${ending}`, mounts)?.point).toBe('/');
    expect(mountOf(`${dir}/workspace${ending}/Lotus`, mounts)?.point).toBe('/');
  });

  it('is that of the deepest folder that exists, for a path that does not', () => {
    const mounts = [at('/'), at(dir, 'nfs')];
    expect(mountOf(`${dir}/not/there/yet`, mounts)?.point).toBe(dir);
  });

  it('is that of a file, too', async () => {
    await writeFile(`${dir}/file`, '');
    expect(mountOf(`${dir}/file`, [at('/'), at(`${dir}/file`, 'xfs')])?.filesystem).toBe('xfs');
  });

  it('is where a link leads, also below the link', async () => {
    await mkdir(`${dir}/volume`);
    await symlink(`${dir}/volume`, `${dir}/link`);
    const mounts = [at('/'), at(`${dir}/volume`, 'nfs')];
    expect(mountOf(`${dir}/link`, mounts)?.point).toBe(`${dir}/volume`);
    expect(mountOf(`${dir}/link/not/there`, mounts)?.point).toBe(`${dir}/volume`);
  });

  it('is none where nothing is known', () => {
    expect(mountOf(dir, [])).toBeUndefined();
  });

  it.runIf(mayMount)('is what the kernel says, for real mounts', async () => {
    const [plain, spaced] = [path.join(dir, 'plain'), path.join(dir, 'with a space\\and more')];
    await Promise.all(
      [plain, spaced].map((folder) => mkdir(path.join(folder, 'below'), { recursive: true })),
    );
    const script = `
      mount -t tmpfs -o size=1m none '${plain}'
      mount -t tmpfs -o size=1m none '${spaced}'
      mkdir '${plain}/inner'
      mount -t tmpfs -o size=1m,ro none '${plain}/inner'
    `;
    const found = await inNamespace(script, [
      path.join(plain, 'x'),
      path.join(plain, 'inner', 'x'),
      path.join(spaced, 'x'),
      `${plain}2`,
    ]);
    expect(found.slice(0, 3)).toEqual([
      at(plain, 'tmpfs'),
      at(path.join(plain, 'inner'), 'tmpfs', true),
      at(spaced, 'tmpfs'),
    ]);
    expect(found[3]?.point).not.toBe(plain);
  });

  it.runIf(mayMount)('is not one that a later mount above it hides', async () => {
    await mkdir(path.join(dir, 'volume', 'inner'), { recursive: true });
    const script = `
      mount -t tmpfs -o size=1m none '${dir}/volume/inner'
      mount -t tmpfs -o size=2m none '${dir}/volume'
      mkdir '${dir}/volume/inner'
    `;
    const [found] = await inNamespace(script, [path.join(dir, 'volume', 'inner')]);
    expect(found?.point).toBe(path.join(dir, 'volume'));
  });
});
