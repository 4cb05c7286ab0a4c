import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { LotusError } from '../errors.ts';
import { KEY_HEADER } from '../key-header.ts';
import type { Secret } from '../secret.ts';

/** The parts of a job that a key can be in. */
export interface KeyBearer {
  readonly input?: unknown;
  readonly http?: unknown;
}

/** What is compared is not the keys but their digests under a key that nobody knows: these are of one length. */
const DIGEST_KEY = randomBytes(32);

/** One header may come several times; more often than this it comes to cost time. */
const MAX_VALUES = 8;

/**
 * Admit a job whose caller knows the server's key: the header `lotus-api-key` in `job.http.headers`, or
 * `input.api_key`. Nothing else of the job is looked at. Takes the same time whatever the key is and however much
 * of it is right. Without a key on the server, nobody is admitted.
 *
 * @throws LotusError `unauthorized`
 */
export function authorize(job: KeyBearer, serverKey: Secret | null): void {
  const matches = keysOf(job).filter((key) => isServerKey(key, serverKey));
  if (matches.length === 0) {
    throw new LotusError('unauthorized', 'Unauthorized'); // the text is part of the contract
  }
}

/** Whether a key is the server's. Takes the same time whatever it is; without a key on the server, none is. */
export function isServerKey(key: string, serverKey: Secret | null): boolean {
  const wanted = serverKey?.reveal() ?? '';
  const isEqual = timingSafeEqual(digest(key), digest(wanted));
  return isEqual && wanted.trim() !== '';
}

function digest(text: string): Buffer {
  return createHmac('sha256', DIGEST_KEY).update(text).digest();
}

/** Every text that stands where a key may stand; a job is whatever JSON somebody has sent. */
function keysOf({ input, http }: KeyBearer): string[] {
  const headers = Object.entries(asObject(asObject(http).headers))
    .filter(([name]) => name.toLowerCase() === KEY_HEADER)
    .flatMap(([, value]) => value);
  const { api_key } = asObject(input);
  return [...headers.slice(0, MAX_VALUES), api_key].filter((key) => typeof key === 'string');
}

/** Its own fields alone: an object that JSON has made bears nothing on its prototype. */
function asObject(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}
