import { describe, expect, it } from 'vitest';
import { parseJobOptions } from '../../src/job/schema.ts';
import { chooseView } from '../../src/job/view.ts';

describe('chooseView', () => {
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
    (prediction, disparity, polarity, inverted) => {
      const options = parseJobOptions({ disparity, normalize: 'percentile' });
      const view = { polarity, inverted, normalize: 'percentile' };
      expect(chooseView(prediction, options)).toEqual(view);
    },
  );

  it('shows normals as they are, whatever is to be normalised', () => {
    const options = parseJobOptions({ normalize: 'percentile', disparity: null });
    const view = { polarity: null, inverted: false, normalize: 'none' };
    expect(chooseView('normals', options)).toEqual(view);
  });

  it.each([
    [{ disparity: true }, /disparity: true.*no polarity/],
    [{ disparity: false }, /disparity: false.*no polarity/],
    [{ output_formats: ['npy', 'color'] }, /color.*png is in colour/],
  ])('refuses %j of normals', (options, message) => {
    const choose = () => chooseView('normals', parseJobOptions(options));
    expect(choose).toThrow(expect.objectContaining({ code: 'invalid_input' }));
    expect(choose).toThrow(message);
  });
});
