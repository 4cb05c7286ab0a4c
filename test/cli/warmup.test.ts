import { describe, expect, it } from 'vitest';
import { start } from './cli.ts';

describe('lotus-worker warmup', () => {
  it('says what took how long and what runs on what', async () => {
    const { exitCode, stdout } = await start(['warmup', '--json']);
    expect(exitCode).toBe(0);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({
      model: 'sample',
      device: 'cpu',
      dtype: 'float32',
      attention: { kernel: 'sdpa', reason: 'flash-attn needs CUDA; the device is cpu' },
      versions: { torch: '2.8.0', diffusers: '0.32.2' },
      run: { width: 1024, height: 768, processing_width: 768, processing_height: 576 },
    });
    expect(Object.keys(report.start_ms)).toEqual(
      expect.arrayContaining(['imports', 'weights', 'prompt', 'attention', 'total']),
    );
    expect(Object.keys(report.run.timings_ms)).toEqual(
      expect.arrayContaining(['vae_encode', 'unet', 'vae_decode', 'total']),
    );
  });

  it('shows the same as a table, with what is logged apart from it', async () => {
    const { exitCode, stdout, stderr } = await start(['warmup'], { LOTUS_LOG_LEVEL: 'info' });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^ {2}attention +sdpa \(flash-attn needs CUDA; the device is cpu\)$/m);
    expect(stdout).toMatch(/^ {2}vae_decode +\d+\.\d$/m);
    const records = stderr.split('\n').map((line) => JSON.parse(line));
    expect(records.find((record) => record.msg === 'the model is ready')).toMatchObject({
      model: expect.stringContaining('sample/checkpoint'),
      attention: { kernel: 'sdpa' },
    });
  });
});
