import { randomUUID } from 'node:crypto';
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { z } from 'zod';
import { jobHeaders, type KeyCheck } from './access.ts';
import type { LocalJob } from './job.ts';
import type { JobQueue } from './queue.ts';
import {
  errorSchema,
  healthSchema,
  type JobRequestBody,
  jobAnswerSchema,
  jobParamsSchema,
  jobRequestSchema,
  purgeSchema,
  streamAnswerSchema,
  waitSchema,
} from './schemas.ts';

export interface RouteOptions {
  readonly queue: JobQueue;
  readonly isKey: KeyCheck;
  /** For the document; see `jobRequestSchema`. */
  readonly input: z.ZodType | undefined;
  /** The largest bodies of `/run` and `/runsync`, in bytes. */
  readonly maxBytes: number;
  readonly maxSyncBytes: number;
  /** How long `/stream` waits for something to say, in milliseconds. */
  readonly streamWaitMs: number;
  /** Whether these are in the document; the same routes below an endpoint's id are not. */
  readonly isDocumented: boolean;
  /** Refuses a webhook that cannot be posted to. */
  readonly checkWebhook: (url: string) => void;
}

const answers = { 200: jobAnswerSchema, '4xx': errorSchema, '5xx': errorSchema };
const byHeader = { access: 'header' } as const;
const byBody = { access: 'body' } as const;

const typed = (app: FastifyInstance) => app.withTypeProvider<ZodTypeProvider>();
type App = ReturnType<typeof typed>;

/** The endpoint's routes, as RunPod has them. */
export const endpointRoutes: FastifyPluginAsync<RouteOptions> = async (plain, options) => {
  const app = typed(plain);
  submitRoutes(app, options);
  followRoutes(app, options);
  changeRoutes(app, options);
  stateRoutes(app, options);
};

/** Jobs come in. */
function submitRoutes(app: App, options: RouteOptions): void {
  const hide = !options.isDocumented;
  const body = jobRequestSchema(options.input);

  app.post(
    '/run',
    {
      config: byBody,
      bodyLimit: options.maxBytes,
      schema: { hide, summary: 'Queue a job', body, response: answers },
    },
    async (request) => {
      const { id, status } = submit(request, request.body, false, options);
      return { id, status };
    },
  );

  app.post(
    '/runsync',
    {
      config: byBody,
      bodyLimit: options.maxSyncBytes,
      schema: {
        hide,
        summary: 'Queue a job and wait for its end',
        body,
        querystring: waitSchema,
        response: answers,
      },
    },
    async (request) => {
      const job = submit(request, request.body, true, options);
      await job.ended(request.query.wait);
      return job.answer();
    },
  );
}

/** How a job is. */
function followRoutes(app: App, { queue, isDocumented, streamWaitMs }: RouteOptions): void {
  const hide = !isDocumented;

  app.route({
    method: ['GET', 'POST'],
    url: '/status/:id',
    config: byHeader,
    schema: { hide, summary: 'How a job is', params: jobParamsSchema, response: answers },
    handler: async ({ params }) => queue.find(params.id).answer(),
  });

  app.route({
    method: ['GET', 'POST'],
    url: '/status-sync/:id',
    config: byHeader,
    schema: {
      hide,
      summary: 'Wait for the end of a job',
      params: jobParamsSchema,
      querystring: waitSchema,
      response: answers,
    },
    handler: async ({ params, query }) => {
      const job = queue.find(params.id);
      await job.ended(query.wait);
      return job.answer();
    },
  });

  app.route({
    method: ['GET', 'POST'],
    url: '/stream/:id',
    config: byHeader,
    schema: {
      hide,
      summary: 'What a job has reported since this was asked last',
      params: jobParamsSchema,
      response: { ...answers, 200: streamAnswerSchema },
    },
    handler: async ({ params }) => {
      const job = queue.find(params.id);
      const reports = await job.read(streamWaitMs);
      const stream = reports.map((output) => ({ output }));
      return { id: job.id, status: job.status, stream };
    },
  });
}

/** What happens to jobs. */
function changeRoutes(app: App, { queue, isDocumented }: RouteOptions): void {
  const hide = !isDocumented;

  app.post(
    '/cancel/:id',
    {
      config: byHeader,
      schema: { hide, summary: 'Stop a job', params: jobParamsSchema, response: answers },
    },
    async ({ params }) => {
      const job = queue.find(params.id);
      queue.cancel(job);
      return job.answer();
    },
  );

  app.post(
    '/retry/:id',
    {
      config: byHeader,
      schema: {
        hide,
        summary: 'Queue a job again that has failed or timed out',
        params: jobParamsSchema,
        response: answers,
      },
    },
    async ({ params }) => {
      const job = queue.find(params.id);
      queue.retry(job);
      return { id: job.id, status: job.status };
    },
  );

  app.post(
    '/purge-queue',
    {
      config: byHeader,
      schema: { hide, summary: 'Cancel what waits', response: { 200: purgeSchema } },
    },
    async () => ({ removed: queue.purge(), status: 'completed' as const }),
  );
}

/** How the endpoint is. */
function stateRoutes(app: App, { queue, isDocumented }: RouteOptions): void {
  const hide = !isDocumented;

  app.get(
    '/health',
    { config: byHeader, schema: { hide, summary: 'Counts', response: { 200: healthSchema } } },
    async () => ({ jobs: queue.counts, workers: workersOf(queue) }),
  );

  app.get(
    '/ping',
    {
      config: { access: 'open' },
      schema: { hide, summary: '200 ready, 204 not: it loads, or its process is started again' },
    },
    async (_request, reply: FastifyReply) => await reply.code(queue.isReady ? 200 : 204).send(),
  );
}

function submit(
  request: FastifyRequest,
  { input, webhook, policy, ...rest }: JobRequestBody,
  isSync: boolean,
  { queue, isKey, checkWebhook }: RouteOptions,
): LocalJob {
  if (webhook) checkWebhook(webhook);
  const job = {
    ...rest,
    input,
    id: `${isSync ? 'sync-' : ''}${randomUUID()}-u1`, // as the platform's look
    http: { headers: jobHeaders(request, isKey) },
    ...(webhook ? { webhook } : {}),
    ...(policy ? { policy: given(policy) } : {}),
  };
  return queue.submit({ job, isSync, bytes: request.bodyBytes });
}

/** Without what is null: the platform's clients send that for unset. */
function given(policy: NonNullable<JobRequestBody['policy']>): Record<string, number> {
  const set = Object.entries(policy).filter((entry) => entry[1] !== null);
  return Object.fromEntries(set) as Record<string, number>;
}

/** As if every slot were a worker of the endpoint's. */
function workersOf(queue: JobQueue): z.infer<typeof healthSchema>['workers'] {
  const { counts, concurrency, isReady } = queue;
  const running = counts.inProgress;
  const ready = isReady ? concurrency : 0;
  return {
    idle: Math.max(0, ready - running),
    initializing: concurrency - ready,
    ready,
    running,
    throttled: 0,
  };
}
