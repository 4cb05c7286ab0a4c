import swagger from '@fastify/swagger';
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from 'fastify';
import {
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
} from 'fastify-type-provider-zod';
import type { z } from 'zod';
import { VERSION } from '../app.ts';
import { messageOf, UsageError } from '../errors.ts';
import { KEY_HEADER } from '../key-header.ts';
import type { Log } from '../log.ts';
import type { Handler } from '../runpod/handler.ts';
import { guardAccess, hasKey, type KeyCheck, unauthorized } from './access.ts';
import { readJsonBodies } from './body.ts';
import { boundConnections } from './connections.ts';
import { API_ERRORS, ApiError } from './errors.ts';
import type { LocalJob } from './job.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { JobQueue, type QueueLimits } from './queue.ts';
import { endpointRoutes } from './routes.ts';
import { type WebhookOptions, Webhooks } from './webhooks.ts';

export interface ApiOptions {
  readonly handler: Handler;
  readonly isKey: KeyCheck;
  readonly log: Log;
  /** Default 127.0.0.1 and 8000; 0 is any port that is free. */
  readonly host?: string;
  readonly port?: number;
  /** Jobs are accepted before, and run when this is fulfilled. Default: at once. */
  readonly ready?: Promise<unknown>;
  /** For the OpenAPI document: what the handler takes. */
  readonly input?: z.ZodType;
  readonly limits?: Partial<ApiLimits>;
  /** How often the model process was started again, for the metrics. */
  readonly restarts?: () => number;
  /** What webhooks may be posted to; without it a job with a webhook is refused. */
  readonly webhooks?: WebhookOptions;
}

/** Times in milliseconds, sizes in bytes. */
export interface ApiLimits extends QueueLimits {
  /** The largest bodies of `/run` and `/runsync`. */
  readonly maxBytes: number;
  readonly maxSyncBytes: number;
  /** What has come of all bodies that are being read, from callers with the key in a header and from all others. */
  readonly maxReadBytes: number;
  readonly maxStrangerBytes: number;
  /** How long `/stream` waits for something to say. */
  readonly streamWaitMs: number;
  /** How long a request may take to come in, its headers and all of it. */
  readonly headersMs: number;
  readonly requestMs: number;
  /** How long a connection may be idle between requests. */
  readonly idleMs: number;
  /** How long a connection may stand still in a request or its answer: longer than an answer may be waited for. */
  readonly stallMs: number;
  readonly maxConnections: number;
  /** How long connections may hold up the end, when all jobs have ended. */
  readonly lastAnswersMs: number;
}

/** The sizes and times are RunPod's own where it names them. */
export const API_LIMITS: ApiLimits = {
  concurrency: 1,
  maxQueued: 100,
  maxQueuedBytes: 256_000_000,
  executionMs: 600_000,
  ttlMs: 24 * 3_600_000,
  keepMs: 30 * 60_000,
  keepSyncMs: 60_000,
  maxKept: 1000,
  maxKeptBytes: 256_000_000,
  maxBytes: 10_000_000,
  maxSyncBytes: 20_000_000,
  maxReadBytes: 256_000_000,
  maxStrangerBytes: 64_000_000,
  maxOutputBytes: 10_000_000,
  maxSyncOutputBytes: 20_000_000,
  streamWaitMs: 5000, // RunPod's Python client waits 10 s for an answer
  headersMs: 10_000,
  requestMs: 60_000,
  idleMs: 30_000,
  stallMs: 330_000,
  maxConnections: 256,
  lastAnswersMs: 6000, // longer than streamWaitMs
};

/** How long results that are under way to webhooks may hold up the end, in milliseconds. */
const WEBHOOK_GRACE_MS = 3000;

export interface LocalApi {
  /** Where it listens. */
  readonly url: string;
  readonly queue: JobQueue;
  readonly metrics: Metrics;
  /** Accepts no more jobs, lets those that run finish within this time, answers whoever waits, and ends. */
  close(graceMs: number): Promise<void>;
}

/**
 * Serve a handler by HTTP as a RunPod endpoint would, so that RunPod's own client libraries can be pointed at it.
 *
 * @throws UsageError when it cannot listen there, with the reason as its cause, e.g. `EADDRINUSE`.
 */
export async function startApi(options: ApiOptions): Promise<LocalApi> {
  const limits = { ...API_LIMITS, ...options.limits };
  const { app, queue, metrics, webhooks } = await createApp(options, limits);
  const { host = '127.0.0.1', port = 8000 } = options;
  await app.ready(); // what is wrong with a route is no fault of the address
  const url = await app.listen({ host, port }).catch((cause: unknown) => {
    throw new UsageError(`cannot listen at ${host}:${port}: ${messageOf(cause)}`, { cause });
  });
  return {
    url,
    queue,
    metrics,
    async close(graceMs) {
      await queue.close(graceMs);
      await webhooks?.close(WEBHOOK_GRACE_MS);
      const over = setTimeout(() => app.server.closeAllConnections(), limits.lastAnswersMs);
      await app.close();
      clearTimeout(over);
    },
  };
}

async function createApp(options: ApiOptions, limits: ApiLimits) {
  const { isKey, handler, log, input, ready = Promise.resolve() } = options;
  const app = createServer(limits, isKey);
  guardAccess(app, isKey);
  boundConnections(app, limits.maxConnections);
  readJsonBodies(app, limits);

  const queue: JobQueue = new JobQueue({ handler, ready, limits, onEnd });
  const metrics = createMetrics({
    counts: () => queue.counts,
    isReady: () => queue.isReady,
    restarts: options.restarts ?? (() => 0),
  });
  function onEnd(job: LocalJob): void {
    metrics.jobEnded(job);
    if (job.webhook !== null) webhooks?.send(job.webhook, job.answer());
  }

  const webhooks = options.webhooks && new Webhooks(options.webhooks, log);
  handleErrors(app, log);
  countBytes(app, metrics);
  await describe(app);
  const routes = {
    queue,
    isKey,
    input,
    ...limits,
    checkWebhook: webhooks ? (url: string) => webhooks.check(url) : noWebhooks,
  };
  await app.register(endpointRoutes, { ...routes, isDocumented: true });
  // RunPod's clients put the endpoint's id before each path, and its own address ends in /v2.
  for (const prefix of ['/v2/:endpoint', '/:endpoint']) {
    await app.register(endpointRoutes, { ...routes, isDocumented: false, prefix });
  }
  app.get('/metrics', { schema: { hide: true } }, async (_request, reply) => {
    return await reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });
  return { app, queue, metrics, webhooks };
}

function createServer(limits: ApiLimits, isKey: KeyCheck): FastifyInstance {
  const app: FastifyInstance = fastify({
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.idleMs,
    connectionTimeout: limits.stallMs,
    forceCloseConnections: 'idle',
    http: { headersTimeout: limits.headersMs, connectionsCheckingInterval: 2000 },
    bodyLimit: 4096, // of the routes that take none
    // A path that cannot be decoded comes to no route, and to no hook.
    frameworkErrors: (_error, { headers }, reply) => {
      const wrong = new ApiError('invalid_request', 'The path is not one of a URL.');
      refuse(reply, hasKey(headers, isKey) ? wrong : unauthorized());
    },
    routerOptions: { maxParamLength: 16_384 }, // of what fits, none is too long to be not found
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  return app;
}

function noWebhooks(): never {
  throw new ApiError('invalid_request', 'webhook: this server posts to none. Ask for /status.');
}

/** The OpenAPI document, at `/openapi.json`. */
async function describe(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'lotus-worker',
        version: VERSION,
        description: 'Depth maps with Lotus, in the shape of a RunPod serverless endpoint.',
      },
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer' },
          header: { type: 'apiKey', in: 'header', name: KEY_HEADER },
        },
      },
      security: [{ bearer: [] }, { header: [] }],
    },
    transform: jsonSchemaTransform,
  });
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
}

function handleErrors(app: FastifyInstance, log: Log): void {
  app.setErrorHandler(async (error: FastifyError, request, reply) => {
    // Whoever has no key learns nothing else, not even that what was sent is not JSON. A key may be in what is not read.
    const known = toApiError(error);
    const told = request.isAdmitted || known.code === 'busy' ? known : unauthorized();
    if (told.status >= 500) log.error({ err: told.cause, method: request.method }, told.message);
    return await refuse(reply, told);
  });
  app.setNotFoundHandler(async ({ method }) => {
    const text = `There is nothing for ${method} at this path; /openapi.json says what there is.`;
    throw new ApiError('not_found', text);
  });
}

function refuse(reply: FastifyReply, { status, code, message }: ApiError): FastifyReply {
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  if (status === 429) reply.header('retry-after', '1');
  return reply.code(status).send({ error: message, status, code });
}

function toApiError(error: FastifyError): ApiError {
  if (error instanceof ApiError) return error;
  const { statusCode = 500, validation, message } = error;
  if (statusCode === API_ERRORS.body_too_large) {
    return new ApiError(
      'body_too_large',
      'The body is too large: send a smaller image, or its address.',
    );
  }
  if (validation) {
    const issues = validation.map(({ instancePath, message: issue }) => {
      const field = instancePath.replace(/^\//, '').replaceAll('/', '.');
      return `${field} ${issue ?? 'is wrong'}`.trim();
    });
    return new ApiError('invalid_request', `Invalid request: ${issues.slice(0, 10).join('; ')}.`);
  }
  if (statusCode < 500) return new ApiError('invalid_request', message);
  return new ApiError('internal', 'Internal error; the log says more.', { cause: error });
}

function countBytes(app: FastifyInstance, metrics: Metrics): void {
  app.addHook('onResponse', async (request, reply) => {
    metrics.received(request.bodyBytes);
    metrics.sent(Number(reply.getHeader('content-length') ?? 0));
  });
}
