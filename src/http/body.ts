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

/**
 * Bounds what bodies may have together that are read from callers who have shown no key in a header. It is what they
 * announce that counts, so that none is begun that cannot be read to its end.
 */
export function boundStrangers(app: FastifyInstance, maxBytes: number): void {
  const reading = new Map<FastifyRequest, number>();

  app.addHook('onRequest', async (request, reply) => {
    if (request.isAdmitted) return;
    const bytes = announcedBytes(request);
    const taken = [...reading.values()].reduce((sum, each) => sum + each, 0);
    if (taken + bytes > maxBytes) {
      throw new ApiError(
        'busy',
        'Too much is being read from callers without a key in a header: put yours into one, or try again later.',
      );
    }
    reading.set(request, bytes);
    // A body that was read or broken off closes the request; one that was refused half-way, the answer alone.
    for (const end of [request.raw, reply.raw]) end.once('close', () => reading.delete(request));
  });
}

/** At most what is read before it is found too large. */
function announcedBytes({ headers, routeOptions }: FastifyRequest): number {
  const { bodyLimit } = routeOptions;
  if (headers['transfer-encoding'] !== undefined) return bodyLimit;
  return Math.min(Number(headers['content-length'] ?? 0), bodyLimit);
}
