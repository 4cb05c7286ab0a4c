import { describe, expect, it } from 'vitest';
import { DEFAULT_MODEL, RELEASED_MODELS, SUPPORTED_MODELS } from '../src/models.ts';

const released = Object.entries(RELEASED_MODELS);

describe('RELEASED_MODELS', () => {
  it('has the six that were released', () => {
    expect(released).toHaveLength(6);
  });

  it.each(released)('says of %s what its name says', (id, { kind, prediction }) => {
    const [, what, letter, rest] =
      /^jingheya\/lotus-(depth|normal)-([dg])-v\d-\d(.*)$/.exec(id) ?? [];
    expect(letter?.toUpperCase()).toBe(kind);
    const named = rest === '-disparity' ? 'disparity' : what === 'normal' ? 'normals' : 'depth';
    expect(prediction).toBe(named);
  });
});

describe('SUPPORTED_MODELS', () => {
  it('are the two regression models of depth and disparity', () => {
    expect(SUPPORTED_MODELS).toEqual([
      'jingheya/lotus-depth-d-v2-0-disparity',
      'jingheya/lotus-depth-d-v1-0',
    ]);
  });

  it('include the default', () => {
    expect(SUPPORTED_MODELS).toContain(DEFAULT_MODEL);
  });
});
