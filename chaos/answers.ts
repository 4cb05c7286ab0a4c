import { createHash } from 'node:crypto';
import { z } from 'zod';

/** What a caller was told: a map, by what must be the same in every run, or an error's code. */
export type Said = { readonly map: string } | { readonly error: string };

const mapSchema = z.object({
  output: z.object({
    image_base64: z.string(),
    min: z.number(),
    max: z.number(),
    width: z.number(),
    height: z.number(),
    inverted: z.boolean(),
  }),
});

const errorSchema = z.object({
  error: z.string(),
  output: z.object({ code: z.string() }).optional(),
});

/** Read the body of a result. What is neither a map nor an error is told as an error. */
export function readResult(body: unknown): Said {
  const map = mapSchema.safeParse(body);
  if (map.success) {
    const { image_base64, min, max, width, height } = map.data.output;
    const digest = createHash('sha256').update(Buffer.from(image_base64, 'base64')).digest('hex');
    return { map: `${width}x${height} ${min} ${max} ${digest.slice(0, 16)}` };
  }
  const error = errorSchema.safeParse(body);
  return { error: error.success ? (error.data.output?.code ?? error.data.error) : 'no answer' };
}
