import { LotusError } from '../errors.ts';
import type { Prediction } from '../models.ts';
import type { JobOptions } from './schema.ts';

/** How a map is shown. It never changes the numbers. */
export interface View {
  /** Null of normals, which point and are neither near nor far. */
  readonly polarity: 'near-bright' | 'far-bright' | null;
  /** Whether the pictures are of what the model predicts, turned around. */
  readonly inverted: boolean;
  readonly normalize: JobOptions['normalize'];
}

type ViewOptions = Pick<JobOptions, 'disparity' | 'normalize' | 'output_formats'>;

/**
 * How the map of a model is shown by a job's options. Disparity is larger when near, depth when far; `disparity` unset
 * leaves it as the model predicts. Normals are shown as they are.
 *
 * @throws LotusError `invalid_input` for what cannot be shown of normals.
 */
export function chooseView(prediction: Prediction, options: ViewOptions): View {
  if (prediction === 'normals') return viewOfNormals(options);
  const { disparity, normalize } = options;
  const native = prediction === 'disparity';
  const nearBright = disparity ?? native;
  return {
    polarity: nearBright ? 'near-bright' : 'far-bright',
    inverted: nearBright !== native,
    normalize,
  };
}

function viewOfNormals({ disparity, output_formats }: ViewOptions): View {
  if (typeof disparity === 'boolean') {
    throw new LotusError(
      'invalid_input',
      `Invalid input: disparity: ${disparity}: this model predicts normals, which have no polarity. Leave it out.`,
    );
  }
  if (output_formats.includes('color')) {
    throw new LotusError(
      'invalid_input',
      'Invalid input: output_formats: color is of maps in grey; this model predicts normals, whose png is in colour.',
    );
  }
  return { polarity: null, inverted: false, normalize: 'none' };
}
