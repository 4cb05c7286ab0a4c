import type { Prediction } from '../models.ts';

export type Polarity = 'near-bright' | 'far-bright';

/**
 * Which way the pictures go, and whether that inverts what the model predicts: disparity is larger when
 * near, depth when far. It never changes the numbers.
 *
 * @param disparity the job's option; unset: as the model predicts.
 */
export function choosePolarity(
  prediction: Exclude<Prediction, 'normals'>,
  disparity: boolean | null | undefined,
): { polarity: Polarity; inverted: boolean } {
  const native = prediction === 'disparity';
  const nearBright = disparity ?? native;
  return { polarity: nearBright ? 'near-bright' : 'far-bright', inverted: nearBright !== native };
}
