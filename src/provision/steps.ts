/** The steps of making a workspace ready, in their order. flash-attn comes last: it may fail. */
export const STEP_NAMES = [
  'volume',
  'release',
  'interpreter',
  'venv',
  'upstream',
  'weights',
  'flash-attn',
] as const;
export type StepName = (typeof STEP_NAMES)[number];

/** What a model process needs, in order. */
export const FOR_THE_MODEL: readonly StepName[] = STEP_NAMES.filter((name) => name !== 'release');
