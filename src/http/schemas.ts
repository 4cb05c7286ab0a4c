import { z } from 'zod';
import { API_ERRORS, type ApiErrorCode } from './errors.ts';
import { JOB_STATUSES } from './job.ts';

/** A timer of Node's holds no more. */
const MAX_MS = 2 ** 31 - 1;
const milliseconds = z.int().min(1).max(MAX_MS);

const policySchema = z.looseObject({
  executionTimeout: milliseconds.nullish().meta({
    description: 'Milliseconds that the job may run. Default: 600000',
  }),
  ttl: milliseconds.nullish().meta({
    description: 'Milliseconds that the job may exist, the queue included. Default: a day',
  }),
});

/**
 * The body of `/run` and `/runsync`. What is not named here goes to the handler as it came.
 *
 * @param input for the OpenAPI document only: what is wrong with an input is the handler's to say.
 */
export function jobRequestSchema(input: z.ZodType | undefined) {
  const { $schema: _, ...described } = z.toJSONSchema(input ?? z.unknown(), {
    io: 'input',
    unrepresentable: 'any',
  });
  return z.looseObject({
    input: z
      .unknown()
      .refine((value) => value !== undefined && value !== null, 'is missing: {"input": {...}}')
      .meta({ ...described, description: 'What the job is to work on' }),
    webhook: z.string().nullish().meta({
      description: 'A public https:// or http:// address that the result is posted to as well',
    }),
    policy: policySchema.nullish().meta({
      description:
        'Times in milliseconds: how long the job may run (default 600000), and how long it may exist, the queue included (default a day)',
    }),
    s3Config: z.unknown().optional().meta({
      type: 'object',
      description:
        "A bucket of the caller's own for what is not in the answer: `accessId`, `accessSecret`, `bucketName`, `endpointUrl`",
    }),
  });
}

export type JobRequestBody = z.infer<ReturnType<typeof jobRequestSchema>>;

/** What `/run`, `/status` and `/cancel` answer. */
export const jobAnswerSchema = z.object({
  id: z.string().meta({ description: "The job's id; that of a `/runsync` begins with `sync-`" }),
  status: z.enum(JOB_STATUSES).meta({ description: 'The last four are final' }),
  delayTime: z.number().optional().meta({ description: 'Milliseconds in the queue' }),
  executionTime: z.number().optional().meta({ description: 'Milliseconds of work' }),
  output: z.unknown().optional().meta({
    description:
      "The result; while the job runs, its last progress; of a failed one the error's code and status",
  }),
  error: z.string().optional().meta({ description: 'Why it failed, for people' }),
});

export const streamAnswerSchema = z.object({
  id: z.string(),
  status: z.enum(JOB_STATUSES),
  stream: z.array(z.object({ output: z.unknown() })).meta({
    description: 'Progress since this was asked last, the result at the end; each is given once',
  }),
});

export const healthSchema = z.object({
  jobs: z.object({
    completed: z.number(),
    failed: z.number(),
    inProgress: z.number(),
    inQueue: z.number(),
    retried: z.number(),
  }),
  workers: z.object({
    idle: z.number(),
    initializing: z.number(),
    ready: z.number(),
    running: z.number(),
    throttled: z.number(),
  }),
});

export const purgeSchema = z.object({
  removed: z.number().meta({ description: 'How many jobs waited' }),
  status: z.literal('completed'),
});

export const errorSchema = z.object({
  error: z.string().meta({ description: 'What was wrong and what to do, for people' }),
  status: z.number().meta({ description: 'The HTTP status' }),
  code: z.enum(Object.keys(API_ERRORS) as [ApiErrorCode, ...ApiErrorCode[]]).meta({
    description: 'The same for programs; stable',
  }),
});

/** How long `/runsync` and `/status-sync` wait: as the platform, at least a second, at most five minutes. */
export const waitSchema = z.object({
  wait: z.coerce
    .number()
    .min(1000)
    .max(300_000)
    .default(90_000)
    .meta({ description: 'Milliseconds to wait for the job to end' }),
});

export const jobParamsSchema = z.object({ id: z.string() });
