import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { KEY_HEADER } from '../key-header.ts';
import { ApiError } from './errors.ts';

/** Whether a key is the server's; it takes the same time for every key. */
export type KeyCheck = (key: string) => boolean;

/** Who may ask for what a route gives. */
export interface Access {
  /** `header`: whoever has the key in a header; `body`: or as `input.api_key` in the body; `open`: anybody. */
  access?: 'header' | 'body' | 'open';
}

declare module 'fastify' {
  interface FastifyContextConfig extends Access {}
  interface FastifyRequest {
    /** Its caller has shown the key. */
    hasShownKey: boolean;
    /** The same, or none is needed. */
    isAdmitted: boolean;
  }
}

/**
 * Asks every request for the key: before its body is read where no key can be in it, after that where one can. Routes that are not there need the
 * key too.
 */
export function guardAccess(app: FastifyInstance, isKey: KeyCheck): void {
  app.decorateRequest('hasShownKey', false);
  app.decorateRequest('isAdmitted', false);

  app.addHook('onRequest', async (request) => {
    const { access = 'header' } = request.routeOptions.config;
    request.hasShownKey = hasKey(request.headers, isKey);
    request.isAdmitted = request.hasShownKey || access === 'open';
    if (!request.isAdmitted && access !== 'body') throw unauthorized();
  });

  app.addHook('preValidation', async (request) => {
    const key = keyInBody(request.body);
    request.hasShownKey ||= key !== null && isKey(key);
    request.isAdmitted ||= request.hasShownKey;
    if (!request.isAdmitted) throw unauthorized();
  });
}

export function unauthorized(): ApiError {
  return new ApiError('unauthorized', 'Unauthorized');
}

/** Whether one of the headers has the key. */
export function hasKey(headers: IncomingHttpHeaders, isKey: KeyCheck): boolean {
  return keysOf(headers).some(isKey);
}

/** `lotus-api-key: KEY`, `Authorization: Bearer KEY`, or the key alone, as RunPod takes it. */
function keysOf(headers: IncomingHttpHeaders): string[] {
  const { authorization = '', [KEY_HEADER]: own = [] } = headers;
  return [authorization.replace(/^Bearer +/i, ''), own].flat().filter((key) => key !== '');
}

function keyInBody(body: unknown): string | null {
  const { input } = (body ?? {}) as { input?: { api_key?: unknown } | null };
  const key = input?.api_key;
  return typeof key === 'string' ? key : null;
}

/** Credentials, and what is of the connection and not of the request. */
const NOT_PASSED_ON = new Set(['authorization', 'proxy-authorization', 'cookie', 'connection']);

/**
 * The headers that the job gets to see. A key that was sent in another way than `lotus-api-key` is put there, so that
 * the job's own authorization sees the same key.
 */
export function jobHeaders(
  { headers }: FastifyRequest,
  isKey: KeyCheck,
): Record<string, string | string[]> {
  const passed = Object.entries(headers).filter(
    (entry): entry is [string, string | string[]] =>
      entry[1] !== undefined && !NOT_PASSED_ON.has(entry[0]),
  );
  const key = keysOf(headers).find(isKey);
  return { ...Object.fromEntries(passed), ...(key === undefined ? {} : { [KEY_HEADER]: key }) };
}
