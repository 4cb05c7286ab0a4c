import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { listDevices } from '../../src/worker/devices.ts';
import { recordingLog } from './programs.ts';

/** A program in the driver's place. */
async function driver(script: string): Promise<string> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'devices-test-'));
  onTestFinished(() => rm(dir, { recursive: true }));
  const file = path.join(dir, 'nvidia-smi');
  await writeFile(file, `#!/bin/sh\n${script}\n`);
  await chmod(file, 0o755);
  return file;
}

async function listed(script: string, env: Record<string, string> = {}, device = 'auto' as const) {
  const { log, records } = recordingLog();
  const devices = await listDevices({ device }, env, { log, nvidiaSmi: await driver(script) });
  return { devices, warnings: records.filter(({ level }) => level === 40) };
}

const TWO = `cat <<'END'
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5d1c0c9e-1111-2222-3333-444455556666)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-7a2b0c9e-1111-2222-3333-444455556666)
END`;

const PARTS = `cat <<'END'
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5d1c0c9e-1111-2222-3333-444455556666)
  MIG 3g.40gb     Device  0: (UUID: MIG-aaaa0c9e-1111-2222-3333-444455556666)
  MIG 3g.40gb     Device  1: (UUID: MIG-bbbb0c9e-1111-2222-3333-444455556666)
END`;

describe('the devices to run on', () => {
  it('are all that the driver lists', async () => {
    expect((await listed(TWO)).devices).toEqual([
      'GPU-5d1c0c9e-1111-2222-3333-444455556666',
      'GPU-7a2b0c9e-1111-2222-3333-444455556666',
    ]);
  });

  it('are the parts of a card that is partitioned', async () => {
    expect((await listed(PARTS)).devices).toEqual([
      'MIG-aaaa0c9e-1111-2222-3333-444455556666',
      'MIG-bbbb0c9e-1111-2222-3333-444455556666',
    ]);
  });

  it('are a card as a whole beside the parts of another', async () => {
    const both = PARTS.replace(/END$/, 'GPU 1: NVIDIA A100 (UUID: GPU-cccc0c9e-1111)\nEND');
    const { devices } = await listed(both);
    expect(devices).toHaveLength(3);
    expect(devices).toContain('GPU-cccc0c9e-1111');
  });

  it('are what CUDA_VISIBLE_DEVICES names, and the driver is not asked', async () => {
    const { devices } = await listed(TWO, { CUDA_VISIBLE_DEVICES: '2, 0,GPU-5d1c,0' });
    expect(devices).toEqual(['2', '0', 'GPU-5d1c']);
  });

  it.each(['0', '', '-1,0', '1,-1,2'])(
    'are left as they are with CUDA_VISIBLE_DEVICES=%j',
    async (visible) => {
      expect((await listed(TWO, { CUDA_VISIBLE_DEVICES: visible })).devices).toEqual([null]);
    },
  );

  it('are one, whatever it is, when there is no driver, one card, or LOTUS_DEVICE=cpu', async () => {
    const { log, records } = recordingLog();
    expect(await listDevices({ device: 'auto' }, {}, { log, nvidiaSmi: '/no/nvidia-smi' })).toEqual(
      [null],
    );
    expect(records).toEqual([]);
    expect((await listed(TWO.replace(/\nGPU 1.*/, ''))).devices).toEqual([null]);
    const cpu = await listDevices({ device: 'cpu' }, {}, { log, nvidiaSmi: await driver(TWO) });
    expect(cpu).toEqual([null]);
  });

  it('are one, with a warning, when the driver is broken', async () => {
    const { devices, warnings } = await listed(
      'echo "Driver/library version mismatch" >&2; exit 18',
    );
    expect(devices).toEqual([null]);
    expect(warnings).toMatchObject([{ error: 'Driver/library version mismatch' }]);
  });

  it('are one, with a warning, when the driver never answers', async () => {
    const { log, records } = recordingLog();
    const nvidiaSmi = await driver('sleep 600');
    const devices = await listDevices(
      { device: 'auto' },
      {},
      { log, nvidiaSmi, driverLimitMs: 50 },
    );
    expect(devices).toEqual([null]);
    expect(records).toMatchObject([{ error: 'nvidia-smi did not end within 0.05 s' }]);
  });
});
