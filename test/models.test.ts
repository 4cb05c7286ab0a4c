import { describe, expect, it } from 'vitest';
import { DEFAULT_MODEL, RELEASED_MODELS } from '../src/models.ts';

const released = Object.entries(RELEASED_MODELS);

describe('RELEASED_MODELS', () => {
  it('has the six that were released', () => {
    expect(released).toHaveLength(6);
  });

  it.each(released)('says of %s what its name says', (id, { prediction }) => {
    const [, what, rest] = /^jingheya\/lotus-(depth|normal)-[dg]-v\d-\d(.*)$/.exec(id) ?? [];
    const named = rest === '-disparity' ? 'disparity' : what === 'normal' ? 'normals' : 'depth';
    expect(prediction).toBe(named);
  });
});

describe('DEFAULT_MODEL', () => {
  it('is one of them', () => {
    expect(Object.keys(RELEASED_MODELS)).toContain(DEFAULT_MODEL);
  });
});
