/**
 * The conversation between this process and the Python worker; its twin is
 * `python/lotus_worker/protocol.py`.
 *
 * We are the parent and ask, Python answers: one JSON object a line (NDJSON, UTF-8), at most
 * 1 MiB, requests on its standard input and replies on its standard output. Pixels never travel in
 * JSON: we write raw RGB to a file and name it, and name the files we want planes written to.
 *
 *     Node                                  Python
 *       |  <------------------------- hello    at once, before torch is imported
 *       |  load ----------------------------->
 *       |  <----------------------- loading    once a stage
 *       |  <------------------------- ready    or error
 *       |  run ------------------------------>
 *       |  <---------------------- progress    once a stage
 *       |  <------------------------ result    or error; after one with healthy=false it exits
 *       |  cancel --------------------------->  the run ends between two stages with error `cancelled`
 *       |  ping ----------------------------->
 *       |  <-------------------------- pong    at once, also during a run
 *       |  shutdown ------------------------->  what was asked for before is finished, then exit 0
 *
 * `load`, `run` and `ping` carry an `id` that their replies repeat. A line that is no valid message ends
 * the process: the two sides no longer agree on what was said. End of input means that we are gone, and
 * ends it too, in the middle of a run if need be.
 *
 * Both sides refuse unknown types and unknown fields, and both test suites read the same examples, good
 * and bad, in `test/fixtures/protocol`.
 */

import { z } from 'zod';

export const PROTOCOL_VERSION = 2;

/** The largest ensemble; more than this says nothing new. */
export const MAX_ENSEMBLE = 16;

export const RESAMPLE_METHODS = ['bilinear', 'bicubic', 'nearest'] as const;
export const NORMALIZE_MODES = ['minmax', 'percentile', 'none'] as const;
/** What a model's weights give. */
export const PREDICTIONS = ['disparity', 'depth', 'normals'] as const;

const pixels = z.int().min(1);
const fraction = z.number().min(0).max(1);
const milliseconds = z.record(z.string(), z.number());
const dtype = z.enum(['float16', 'float32']);

/** Load a model; once a process. */
const load = z.strictObject({
  type: z.literal('load'),
  id: z.string(),
  /** Upstream's checkout, absolute. */
  upstream: z.string(),
  /** A checkpoint folder, absolute. */
  model: z.string(),
  /** Its commit on the hub, to be named in `ready`; null for a folder of somebody's own. */
  revision: z.string().nullable(),
  /** What the weights give: normals keep the three channels. */
  prediction: z.enum(PREDICTIONS),
  device: z.enum(['auto', 'cuda', 'cpu']),
  /** `auto`: float16 on CUDA, float32 on the CPU. */
  dtype: z.enum(['auto', 'float16', 'float32']),
});

/** Turn one image into one map. */
const anyRun = z.strictObject({
  type: z.literal('run'),
  id: z.string(),
  /** A file of raw 8-bit RGB, rows top to bottom: width * height * 3 bytes. */
  image: z.strictObject({ path: z.string(), width: pixels, height: pixels }),
  /** How the map is computed. The names are the job's and upstream's own. */
  options: z.strictObject({
    timestep: z.int().min(0).max(999),
    /** null: upstream's default of 768; 0: native. */
    processing_res: z.int().min(0).nullable(),
    output_processing_res: z.boolean(),
    resample_method: z.enum(RESAMPLE_METHODS),
    upsample_method: z.enum(RESAMPLE_METHODS),
    seed: z.int().min(0),
    /** Maps of as many seeds, of which the median is given. */
    ensemble_size: z.int().min(1).max(MAX_ENSEMBLE),
  }),
  /** How floats become pixels: which value is pixel 0 and which is full, and whether to swap them. */
  picture: z.strictObject({
    normalize: z.enum(NORMALIZE_MODES),
    invert: z.boolean(),
    /** The colormap's last entry is pixel 0: upstream's word for it. */
    reverse_color: z.boolean(),
  }),
  /** The files to write, or null. Rows top to bottom, width * height * channels values each, those of a pixel together. */
  planes: z.strictObject({
    /** The map as computed, little-endian. */
    float32: z.string().nullable(),
    /** The picture. */
    uint8: z.string().nullable(),
    /** The picture, little-endian. */
    uint16: z.string().nullable(),
    /** Of each pixel the entry of a colormap of 256, a byte. */
    color: z.string().nullable(),
    /** The map as computed, in OpenEXR's own file format. */
    exr: z.string().nullable(),
    /** How far the maps of an ensemble lie apart, as float32 is written. */
    uncertainty: z.string().nullable(),
  }),
});

const run = anyRun.refine(
  ({ planes, options }) => planes.uncertainty === null || options.ensemble_size > 1,
  'uncertainty is of an ensemble',
);

/** Give up the run of that id, between two of its stages. Unknown ids are ignored. */
const cancel = z.strictObject({ type: z.literal('cancel'), id: z.string() });

/** Is the process alive? Answered by its reading thread, so also during a run. */
const ping = z.strictObject({ type: z.literal('ping'), id: z.string() });

/** Finish what was asked for and exit. */
const shutdown = z.strictObject({ type: z.literal('shutdown') });

/** The first line, at once. Not strict: another version may have more to say, and its number tells. */
const hello = z.looseObject({
  type: z.literal('hello'),
  protocol: z.int(),
  pid: z.int(),
  /** Of Python and the packages that matter; null: not installed. */
  versions: z.record(z.string(), z.string().nullable()),
});

/** A stage of loading has begun; `fraction` of all stages are done. */
const loading = z.strictObject({
  type: z.literal('loading'),
  id: z.string(),
  stage: z.string(),
  fraction,
});

/** The model is loaded and takes runs. */
const ready = z.strictObject({
  type: z.literal('ready'),
  id: z.string(),
  model: z.string(),
  /** The commit on the hub; null for a folder. */
  revision: z.string().nullable(),
  /** Upstream's word for LotusDPipeline and LotusGPipeline. */
  mode: z.enum(['regression', 'generation']),
  /** `cpu`, or the card's name. */
  device: z.string(),
  dtype,
  /** What runs the UNet's attention, and why it is not flash-attn when it is not. */
  attention: z.strictObject({
    kernel: z.enum(['flash-attn', 'sdpa']),
    version: z.string().nullable(),
    reason: z.string().nullable(),
  }),
  /** A value a stage of loading. */
  timings_ms: milliseconds,
});

/** A stage of a run has begun; `fraction` of all stages are done. */
const progress = z.strictObject({
  type: z.literal('progress'),
  id: z.string(),
  stage: z.string(),
  fraction,
});

/** The map of a run; its planes are in the files that were named. */
const result = z.strictObject({
  type: z.literal('result'),
  id: z.string(),
  width: pixels,
  height: pixels,
  /** 1, or the 3 of normals. */
  channels: z.union([z.literal(1), z.literal(3)]),
  /** The size it was computed at, before scaling back. */
  processing_width: pixels,
  processing_height: pixels,
  /** Of the map, before normalisation and polarity. */
  min: z.number(),
  max: z.number(),
  /** The values of pixel 0 and of pixel full. */
  range: z.tuple([z.number(), z.number()]),
  /** float32 where float16 was not finite. */
  dtype,
  timings_ms: milliseconds,
  warnings: z.array(z.string()),
});

/** A load or a run failed; with `id` null, the conversation did. */
const error = z.strictObject({
  type: z.literal('error'),
  id: z.string().nullable(),
  code: z.enum([
    /** We asked for something that the protocol does not allow. */
    'bad_request',
    /** No checkpoint at that path, or the hub has none of that name. */
    'model_not_found',
    /** A checkpoint, but not one that upstream's pipelines can run. */
    'incompatible_model',
    /** The checkout lacks pipeline.py, or its pipelines differ. */
    'incompatible_upstream',
    /** The image, scaled for processing, is too thin for the model, or takes more memory than there is. */
    'shape_not_admitted',
    /** The run was given up and its memory freed; the next one may well work. */
    'out_of_memory',
    /** NaN or infinity in the map, in float32 too. */
    'non_finite_map',
    /** We asked for it. */
    'cancelled',
    /** Anything else; the log has the traceback. */
    'internal',
  ]),
  message: z.string(),
  /** Whether the process can take the next run. */
  healthy: z.boolean(),
});

/** The answer to a ping. */
const pong = z.strictObject({ type: z.literal('pong'), id: z.string() });

export const requestSchema = z.discriminatedUnion('type', [load, run, cancel, ping, shutdown]);
export const replySchema = z.discriminatedUnion('type', [
  hello,
  loading,
  ready,
  progress,
  result,
  error,
  pong,
]);

export type Request = z.infer<typeof requestSchema>;
export type LoadRequest = z.infer<typeof load>;
export type RunRequest = z.infer<typeof run>;
export type Reply = z.infer<typeof replySchema>;
export type Hello = z.infer<typeof hello>;
export type Ready = z.infer<typeof ready>;
export type Result = z.infer<typeof result>;
export type Pong = z.infer<typeof pong>;
export type ErrorReply = z.infer<typeof error>;
export type Attention = Ready['attention'];

/** A line that is no valid message. The conversation cannot go on after it. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

/** What is wrong with a line is told to so many characters: there may be a mistake in each of its million bytes. */
const MAX_WRONG = 1000;

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Read a reply from a line without its newline.
 *
 * @throws ProtocolError when it is not UTF-8, not JSON, or not a reply.
 */
export function parseReply(line: Uint8Array): Reply {
  return parse(replySchema, line);
}

/** Read a request, as Python does. Only the tests need it, to hold the shared examples against. */
export function parseRequest(line: Uint8Array): Request {
  return parse(requestSchema, line);
}

/** Write a request as one line, newline included. */
export function encodeRequest(request: Request): string {
  return `${JSON.stringify(request)}\n`;
}

function parse<T>(schema: z.ZodType<T>, line: Uint8Array): T {
  let value: unknown;
  try {
    value = JSON.parse(utf8.decode(line));
  } catch (error) {
    throw new ProtocolError(`not a line of JSON: ${excerpt(line)}`, { cause: error });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const wrong = z.prettifyError(parsed.error).slice(0, MAX_WRONG);
  throw new ProtocolError(`no valid message: ${wrong}: ${excerpt(line)}`);
}

/** The beginning of a line, for an error message. */
function excerpt(line: Uint8Array): string {
  const text = Buffer.from(line.subarray(0, 200)).toString('utf8');
  return JSON.stringify(line.length > 200 ? `${text}...` : text);
}
