import { z } from 'zod';
import { LotusError } from '../errors.ts';
import { COLORMAP_NAMES } from '../image/colormap.ts';
import { MAX_ENSEMBLE, NORMALIZE_MODES, RESAMPLE_METHODS } from '../worker/protocol.ts';

export const OUTPUT_FORMATS = ['png', 'png16', 'npy', 'color', 'exr', 'uncertainty'] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** A longer list is not looked at entry by entry: the errors of millions take all the memory there is. */
const MAX_FORMATS = 32;

/** The hub's are under a hundred; a refusal repeats it. */
const MAX_MODEL_ID = 200;

/**
 * So many images a job may have: each then has 600 KB of the 10 MB that RunPod takes of an answer, and half a minute of
 * the ten that it lets a job run.
 */
export const MAX_IMAGES = 16;

/** It is repeated in the answer. */
const MAX_IMAGE_ID = 200;

/** Beyond the largest image there is nothing to gain. */
const MAX_PROCESSING_RES = 4096;

/**
 * How a map is computed and written: the part of a job that the queue, the local API and the command line
 * share. The tables in the docs are made from it.
 */
const options = {
  model_id: z
    .string()
    .max(MAX_MODEL_ID, `Too long: at most ${MAX_MODEL_ID} characters`)
    .optional()
    .meta({
      description: 'The model. This version has one at a time: the `MODEL_ID` it runs with',
    }),
  timestep: z
    .int()
    .min(0)
    .max(999)
    .default(999)
    .meta({ description: 'The timestep of the one denoising step. Lotus was trained at 999' }),
  processing_res: z.int().min(0).max(MAX_PROCESSING_RES).nullish().meta({
    description:
      "Scale the image for processing so that its long edge has this many pixels (smaller ones grow). 0: native. Default: the model's own, 768",
  }),
  output_processing_res: z
    .boolean()
    .default(false)
    .meta({ description: 'Give the map at the size it was computed at, not scaled back' }),
  resample_method: z
    .enum(RESAMPLE_METHODS)
    .default('bilinear')
    .meta({ description: 'How the image is scaled for processing' }),
  upsample_method: z.enum(RESAMPLE_METHODS).default('nearest').meta({
    description:
      "How the map is scaled back. `nearest` is upstream's, and looks blocky on large pictures",
  }),
  disparity: z.boolean().nullish().meta({
    description:
      'Polarity of the pictures: true = near is bright, false = far is bright. It never changes the numbers. Default: what the model predicts. Refused for normals',
  }),
  seed: z.int().min(0).default(0).meta({
    description:
      'Of the latent that upstream samples, and of the noise that a model generates from. One seed, one answer',
  }),
  ensemble_size: z.int().min(1).max(MAX_ENSEMBLE).default(1).meta({
    description:
      'Maps by as many seeds, from `seed` on, of which the median is given. For models that generate; each takes as long as one',
  }),
  output_formats: z
    .array(z.unknown().meta({ type: 'string', enum: OUTPUT_FORMATS }))
    .max(MAX_FORMATS, `Too many: at most ${MAX_FORMATS} entries`)
    .pipe(z.array(z.enum(OUTPUT_FORMATS)))
    .default(['png'])
    .transform((formats): OutputFormat[] => [...new Set<OutputFormat>(['png', ...formats])])
    .meta({
      description:
        '`png` (8 bits; grey, of normals RGB) is always made; `png16` 16-bit grey, `npy` and `exr` the floats, `color` in a colormap (not of normals), `uncertainty` how far the maps of an ensemble lie apart',
    }),
  colormap: z.enum(COLORMAP_NAMES).default('Spectral').meta({
    description:
      "Of `color`, by matplotlib's names. `Spectral` is upstream's: near is red. In the others what is bright in the grey picture is bright",
  }),
  normalize: z.enum(NORMALIZE_MODES).default('minmax').meta({
    description:
      'How floats become pixels: `minmax` (smallest to largest), `percentile` (2% cut off at either end), `none` (0 to 1 as the model gives it; always so for normals)',
  }),
};

const ENSEMBLE_NEEDED = {
  path: ['output_formats'],
  message: 'uncertainty is of an ensemble: set ensemble_size to 2 or more',
};

interface EnsembleOptions {
  output_formats: OutputFormat[];
  ensemble_size: number;
}

function hasItsEnsemble({ output_formats, ensemble_size }: EnsembleOptions): boolean {
  return ensemble_size > 1 || !output_formats.includes('uncertainty');
}

export const jobOptionsSchema = z.strictObject(options).refine(hasItsEnsemble, ENSEMBLE_NEEDED);

/** One image of several. What is wrong with one is that image's error. */
const imageItem = z.strictObject({
  image_url: z.string().nullish(),
  image_base64: z.string().nullish(),
  id: z
    .string()
    .max(MAX_IMAGE_ID, `Too long: at most ${MAX_IMAGE_ID} characters`)
    .optional()
    .meta({ description: 'Repeated in its answer' }),
});

const { $schema: _, ...itemAsJson } = z.toJSONSchema(imageItem, { io: 'input' });

/** A job's `input` on the queue and the local API: the key, an image, and the options. */
const jobInput = z.strictObject({
  // Anything passes: what it should be was decided by `authorize`, and a wrong one must not be told of.
  api_key: z.unknown().optional().meta({
    type: 'string',
    description:
      "The server's `LOTUS_API_KEY`, where it is not in the header `lotus-api-key` of `job.http.headers`. RunPod's own SDKs do not pass headers on: this field is the dependable way",
  }),
  image_url: z.string().nullish().meta({
    description:
      'Where the image is: `https://` or `http://`, on the public internet, for anybody to open. Either this, `image_base64` or `images`',
  }),
  image_base64: z
    .string()
    .nullish()
    .meta({ description: 'The image: JPEG, PNG or WebP, in base64 or as a data URL' }),
  images: z
    .array(z.unknown().meta(itemAsJson))
    // Not min and max, which complain of a text's length as well.
    .refine(({ length }) => length > 0, 'Empty: send at least one image')
    .refine(({ length }) => length <= MAX_IMAGES, `Too many: at most ${MAX_IMAGES} images a job`)
    .meta({ minItems: 1, maxItems: MAX_IMAGES })
    .nullish()
    .meta({
      description: `Several images instead of one, at most ${MAX_IMAGES}: each has either \`image_url\` or \`image_base64\`, and may have an \`id\` of the caller's`,
    }),
  upload_url: z.string().nullish().meta({
    description:
      'Where the PNG is to be put instead of `image_base64`: an `https://` URL that takes a PUT, as storages presign them',
  }),
  ...options,
});

export const jobInputSchema = jobInput.refine(hasItsEnsemble, ENSEMBLE_NEEDED);

export type JobOptions = z.infer<typeof jobOptionsSchema>;

/** Where a job's image comes from, as it was sent. */
export type ImageSource = { readonly url: string } | { readonly base64: string };

/** A job's input, checked; the key is no longer in it. It has either one image or several. */
export type JobInput = {
  /** Where the picture is to be put; as it was sent. Null with several images. */
  readonly uploadUrl: string | null;
  readonly options: JobOptions;
} & (
  | { readonly image: ImageSource; readonly images?: never }
  /** As they were sent: each is for `parseImageItem` to look at. */
  | { readonly images: readonly unknown[]; readonly image?: never }
);

/**
 * Check a job's options.
 *
 * @throws LotusError `invalid_input`, naming every field that is wrong, and every unknown one.
 */
export function parseJobOptions(value: unknown): JobOptions {
  return parse(jobOptionsSchema, value);
}

/**
 * Check a job's input.
 *
 * @throws LotusError `invalid_input`, naming every field that is wrong, and every unknown one; `no_image`.
 */
export function parseJobInput(value: unknown): JobInput {
  const { api_key, image_url, image_base64, images, upload_url, ...options } = parse(
    jobInputSchema,
    value,
  );
  const uploadUrl = upload_url ?? null;
  onlyOneOf({ image_url, image_base64, images });
  if (!images) {
    return { image: imageSource(image_url ?? null, image_base64 ?? null), uploadUrl, options };
  }
  if (uploadUrl !== null) {
    throw new LotusError(
      'invalid_input',
      'Invalid input: upload_url takes one picture, and there are images; send no upload_url, or one image a job.',
    );
  }
  return { images, uploadUrl, options };
}

/**
 * Check one image of several.
 *
 * @throws LotusError `invalid_input`, naming every field that is wrong, and every unknown one; `no_image`.
 */
export function parseImageItem(value: unknown): ImageSource {
  const { image_url, image_base64 } = parse(imageItem, value);
  onlyOneOf({ image_url, image_base64 });
  return imageSource(image_url ?? null, image_base64 ?? null);
}

/** The id of one image of several, whatever else is wrong with it; undefined where it has none that can be repeated. */
export function imageId(value: unknown): string | undefined {
  return z.looseObject({ id: imageItem.shape.id }).safeParse(value).data?.id;
}

/** @throws LotusError `invalid_input`, naming the fields. */
function onlyOneOf(fields: Readonly<Record<string, unknown>>): void {
  const sent = Object.keys(fields).filter((name) => (fields[name] ?? null) !== null);
  if (sent.length <= 1) return;
  throw new LotusError(
    'invalid_input',
    `Invalid input: there are ${sent.join(' and ')}; send one of them.`,
  );
}

function imageSource(url: string | null, base64: string | null): ImageSource {
  if (url !== null) return { url };
  if (base64 !== null) return { base64 };
  throw new LotusError('no_image', 'There is no image: send image_base64 or image_url.');
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const { issues } = parsed.error;
  const told = issues.slice(0, MAX_TOLD).map((issue) => describe(issue, value));
  if (issues.length > MAX_TOLD) told.push(`and ${issues.length - MAX_TOLD} more`);
  throw new LotusError('invalid_input', `Invalid input: ${told.join('; ')}.`);
}

/** So many mistakes are named in one error: a caller may make thousands. */
const MAX_TOLD = 12;

/** Fields whose values are not repeated: a URL may have a token in it. */
const UNTOLD: ReadonlySet<string> = new Set(['image_url', 'images', 'upload_url']);

function describe(issue: z.core.$ZodIssue, input: unknown): string {
  if (issue.code === 'unrecognized_keys') {
    return `unknown field ${issue.keys.slice(0, MAX_TOLD).map(excerpt).join(', ')}`;
  }
  const message = issue.message.replace(/^Invalid input: /, '');
  const field = issue.path.join('.');
  if (field === '') return message;
  const value = issue.path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown>)?.[key],
    input,
  );
  if (value === undefined) return `${field} is missing`;
  return `${field}: ${message}, got ${UNTOLD.has(field) ? kindOf(value) : excerpt(value)}`;
}

function kindOf(value: unknown): string {
  return Array.isArray(value) ? `a list of ${value.length}` : typeof value;
}

/** A value for an error message: short, whatever a caller has sent. */
function excerpt(value: unknown): string {
  try {
    const text = JSON.stringify(value) ?? String(value);
    return text.length > 60 ? `${text.slice(0, 60)}...` : text;
  } catch {
    return 'a value that is nested too deeply'; // JSON.parse takes what JSON.stringify does not
  }
}
