import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ApiError } from './errors.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Of the body as it came. */
    bodyBytes: number;
  }
}

/**
 * Every body is JSON, whatever its type says: curl calls it a form. An empty one is none: RunPod's Python client
 * announces JSON and sends nothing.
 */
export function readJsonBodies(app: FastifyInstance): void {
  app.decorateRequest('bodyBytes', 0);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    '*',
    { parseAs: 'buffer' },
    async (request: FastifyRequest, body: Buffer) => {
      request.bodyBytes = body.length;
      if (body.length === 0) return undefined;
      try {
        return JSON.parse(body.toString('utf8')) as unknown;
      } catch {
        throw new ApiError('invalid_request', 'The body is not JSON.');
      }
    },
  );
}
