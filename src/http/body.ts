import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Pieces } from '../pieces.ts';
import { ApiError } from './errors.ts';
import { ReadingRoom } from './reading-room.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Of the body as it came. */
    bodyBytes: number;
  }
}

export interface BodyLimits {
  /** What bodies may have together while they are being read, in bytes: from callers with the key in a header, and from others. */
  readonly maxReadBytes: number;
  readonly maxStrangerBytes: number;
}

/**
 * Every body is JSON, whatever its type says: curl calls it a form. An empty one is none: RunPod's Python client
 * announces JSON and sends nothing.
 */
export function readJsonBodies(app: FastifyInstance, limits: BodyLimits): void {
  const callers = new ReadingRoom(limits.maxReadBytes);
  const strangers = new ReadingRoom(limits.maxStrangerBytes);

  app.decorateRequest('bodyBytes', 0);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', async (request: FastifyRequest, payload: Readable) => {
    const room = request.isAdmitted ? callers : strangers;
    const body = await readBody(payload, maxBytesOf(request), room);
    request.bodyBytes = body.length;
    return body.length === 0 ? undefined : parseJson(body);
  });
}

/** @throws ApiError `body_too_large`, before anything is read, where it is announced so. */
function maxBytesOf({ headers, routeOptions }: FastifyRequest): number {
  const { bodyLimit } = routeOptions;
  if (Number(headers['content-length'] ?? 0) > bodyLimit) throw tooLarge();
  return bodyLimit;
}

async function readBody(payload: Readable, maxBytes: number, room: ReadingRoom): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const place = room.enter(reject);
  const pieces = new Pieces();
  const keep = (piece: Buffer) => {
    pieces.add(piece);
    if (pieces.bytes > maxBytes) reject(tooLarge());
    if (pieces.areTooSmall) reject(tooSmall());
    place.take(piece.length);
  };
  const finish = () => resolve(pieces.join());
  payload.on('data', keep).once('end', finish).once('error', reject);
  payload.once('close', () => reject(new Error('the connection is closed'))); // after its end: no matter
  try {
    return await promise;
  } finally {
    // What still comes of one that was refused is dropped as it comes, until the answer has ended its connection.
    payload.off('data', keep).off('end', finish).resume();
    place.leave();
  }
}

function tooLarge(): ApiError {
  return new ApiError(
    'body_too_large',
    'The body is too large: send a smaller image, or its address.',
  );
}

function tooSmall(): ApiError {
  return new ApiError(
    'invalid_request',
    'The body comes in chunks of a few bytes: send it with its length.',
  );
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Far more than a request has; a body of millions of empty objects takes twenty times its size in memory. */
const MAX_VALUES = 10_000;
const COMMA = 0x2c;
const BRACKET = 0x5b;
const BRACE = 0x7b;

function parseJson(body: Buffer): unknown {
  if (countValues(body) > MAX_VALUES) {
    throw new ApiError('invalid_request', `The body has more than ${MAX_VALUES} values in it.`);
  }
  try {
    return JSON.parse(utf8.decode(body)) as unknown;
  } catch {
    throw new ApiError('invalid_request', 'The body is not JSON in UTF-8.');
  }
}

/** At least as many as there are: each but the first stands behind one of these. */
function countValues(body: Buffer): number {
  let values = 1;
  for (const byte of body) {
    if (byte === COMMA || byte === BRACKET || byte === BRACE) values += 1;
  }
  return values;
}
