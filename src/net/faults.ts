import { LotusError } from '../errors.ts';
import { Refusal } from './target.ts';

/** The other side or the network failed; the message goes on from the address, as a Refusal's does. */
export class Failure extends Error {
  override readonly name = 'Failure';
}

/**
 * Whatever went wrong, as the caller may see it.
 *
 * @param wanted what was to be done with the address.
 */
export function explain(error: unknown, subject: string, wanted = 'fetched'): LotusError {
  if (error instanceof Refusal || error instanceof Failure) {
    const code = error instanceof Refusal ? 'fetch_refused' : 'fetch_failed';
    return new LotusError(code, `${subject} ${error.message}.`, { cause: error.cause });
  }
  const code = codeOf(error);
  // Not the error itself: undici's have what was received, and TLS's the certificate.
  const cause = new Error(code);
  return new LotusError('fetch_failed', `${subject} cannot be ${wanted}: ${reasonOf(code)}.`, {
    cause,
  });
}

function codeOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown };
  return [code, name, 'unknown'].find(
    (word) => typeof word === 'string' && /^\w+$/.test(word),
  ) as string;
}

/** What the codes of Node and undici mean for whoever gave the address. */
function reasonOf(code: string): string {
  const [, reason] = REASONS.find(([pattern]) => pattern.test(code)) ?? [];
  return `${reason ?? 'the connection failed'} (${code})`;
}

const REASONS: readonly (readonly [RegExp, string])[] = [
  [/^(ENOTFOUND|ENODATA|EBADNAME)$/, 'its host is not known'],
  [/^(EAI_|ESERVFAIL|ETIMEOUT|EREFUSED|ECANCELLED)/, 'its host cannot be looked up now'],
  [/^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH)$/, 'its host cannot be reached'],
  [/TIMEOUT|TIMEDOUT|AbortError|TimeoutError/, 'its host does not answer in time'],
  [/CERT|SELF_SIGNED|^ERR_TLS|^ERR_SSL|^UNABLE_TO/, 'its certificate or its TLS is not right'],
  [/^HPE_|HTTPParserError|HEADERS_OVERFLOW|RES_CONTENT_LENGTH/, 'what it sends is not right HTTP'],
  [/^(ECONNRESET|EPIPE|UND_ERR_SOCKET)$/, 'the connection broke off'],
];
