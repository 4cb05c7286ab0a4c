import { describe, expect, it } from 'vitest';
import { choosePolarity } from '../../src/job/polarity.ts';

describe('choosePolarity', () => {
  it.each([
    ['disparity', undefined, 'near-bright', false],
    ['disparity', null, 'near-bright', false],
    ['disparity', true, 'near-bright', false],
    ['disparity', false, 'far-bright', true],
    ['depth', undefined, 'far-bright', false],
    ['depth', null, 'far-bright', false],
    ['depth', true, 'near-bright', true],
    ['depth', false, 'far-bright', false],
  ] as const)(
    'makes %s with disparity=%s %s, inverted: %s',
    (prediction, wanted, polarity, inverted) => {
      expect(choosePolarity(prediction, wanted)).toEqual({ polarity, inverted });
    },
  );
});
