import { describe, expect, it } from 'vitest';
import { gatherFacts } from '../../src/job/answer.ts';
import { parseJobOptions } from '../../src/job/schema.ts';
import type { DepthMap } from '../../src/worker/model.ts';
import type { Ready } from '../../src/worker/protocol.ts';

const READY: Ready = {
  type: 'ready',
  id: '1',
  model: '/srv/secret/my-lotus',
  revision: 'abc',
  mode: 'regression',
  device: 'cpu',
  dtype: 'float16',
  attention: { kernel: 'sdpa', version: null, reason: 'no GPU' },
  timings_ms: { load: 1 },
};

const MAP: DepthMap = {
  width: 4,
  height: 3,
  channels: 1,
  processing_width: 8,
  processing_height: 6,
  min: -0.5,
  max: 0.75,
  range: [0.75, -0.5],
  dtype: 'float32',
  timings_ms: { unet: 5 },
  warnings: ['again in float32'],
  planes: {
    float32: Buffer.alloc(48),
    uint8: Buffer.alloc(12),
    uint16: Buffer.alloc(0),
    color: Buffer.alloc(0),
    exr: Buffer.alloc(0),
    uncertainty: Buffer.alloc(0),
  },
  by: READY,
};

const model = {
  run: () => Promise.reject(new Error('gatherFacts runs nothing')),
};

function gather(prediction: 'disparity' | 'depth' = 'disparity') {
  const made = {
    map: MAP,
    options: parseJobOptions({ seed: 7, normalize: 'percentile' }),
    view: { polarity: 'far-bright' as const, inverted: true, normalize: 'percentile' as const },
    files: [
      { format: 'png' as const, path: '/out/a.png', bytes: Buffer.alloc(10) },
      { format: 'npy' as const, path: '/out/a.npy', bytes: Buffer.alloc(20) },
    ],
    context: { model, modelName: 'my-lotus', prediction },
  };
  return gatherFacts(made, { unet: 5, total: 9 });
}

describe('gatherFacts', () => {
  it('says what is known of the map, under the names of the contract', () => {
    expect(gather()).toEqual({
      min: -0.5,
      max: 0.75,
      width: 4,
      height: 3,
      processing_width: 8,
      processing_height: 6,
      model_id: 'my-lotus',
      model_revision: 'abc',
      prediction: 'disparity',
      polarity: 'far-bright',
      inverted: true,
      normalize: 'percentile',
      range: [0.75, -0.5],
      seed: 7,
      ensemble_size: 1,
      dtype: 'float32',
      attention: 'sdpa',
      device: 'cpu',
      files: [
        { format: 'png', file_path: '/out/a.png', content_type: 'image/png', bytes: 10 },
        {
          format: 'npy',
          file_path: '/out/a.npy',
          content_type: 'application/octet-stream',
          bytes: 20,
        },
      ],
      timings_ms: { unet: 5, total: 9 },
      warnings: ['again in float32'],
    });
  });

  it('says what the weights predict, whichever way the pictures go', () => {
    expect(gather('depth')).toMatchObject({ prediction: 'depth', polarity: 'far-bright' });
  });

  it('can be sent as JSON, and then has no path of the model in it', () => {
    const facts = gather();
    const sent = JSON.stringify(facts);
    expect(JSON.parse(sent)).toEqual(facts);
    expect(sent).not.toContain('secret');
  });
});
