import type { Prediction } from '../models.ts';
import type { DepthMap, RgbImage, RunRequestOptions } from '../worker/model.ts';

/** What a job needs of the model. */
export interface JobModel {
  run(image: RgbImage, request: RunRequestOptions): Promise<DepthMap>;
}

/** What a job runs in. */
export interface JobContext {
  readonly model: JobModel;
  /** The model's name as callers know it, and what its weights predict. */
  readonly modelName: string;
  readonly prediction: Prediction;
  readonly signal?: AbortSignal | undefined;
}
