import { type Context, USER_AGENT, withConnection } from './connection.ts';
import type { Target } from './target.ts';

/** What is sent. */
export interface Sent {
  readonly method: 'POST' | 'PUT';
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
  /** Milliseconds from its first byte to the headers of the answer; 0: as long as all may take. */
  readonly headersTimeout?: number;
}

/**
 * Send something to a target. Redirects are not followed, and the answer is not read.
 *
 * @returns the answer's status.
 * @throws as `withConnection`.
 */
export async function send(target: Target, sent: Sent, context: Context): Promise<number> {
  const { pathname, search } = target.url;
  return await withConnection(target, context, async (client) => {
    const { statusCode, body } = await client.request({
      ...sent,
      path: `${pathname}${search}`,
      headers: { 'user-agent': USER_AGENT, ...sent.headers },
      signal: context.signal,
    });
    body.on('error', () => {}); // it is not read
    return statusCode;
  });
}
