import type { PREDICTIONS } from './worker/protocol.ts';

/** What a model's weights predict. It decides the polarity of the pictures and never the numbers. */
export type Prediction = (typeof PREDICTIONS)[number];

interface ReleasedModel {
  prediction: Prediction;
}

/** The six released Lotus models, by hub id. */
export const RELEASED_MODELS: Readonly<Record<string, ReleasedModel>> = {
  'jingheya/lotus-depth-d-v2-0-disparity': { prediction: 'disparity' },
  'jingheya/lotus-depth-d-v1-0': { prediction: 'depth' },
  'jingheya/lotus-normal-d-v1-1': { prediction: 'normals' },
  'jingheya/lotus-depth-g-v2-1-disparity': { prediction: 'disparity' },
  'jingheya/lotus-depth-g-v1-0': { prediction: 'depth' },
  'jingheya/lotus-normal-g-v1-1': { prediction: 'normals' },
};

/** What runs unless MODEL_ID says otherwise. */
export const DEFAULT_MODEL = 'jingheya/lotus-depth-d-v2-0-disparity';
