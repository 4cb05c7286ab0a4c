import { Agent, type Dispatcher, request } from 'undici';
import { afterAwake } from '../time/awake.ts';
import type { PlatformKey } from './platform.ts';

/** What the platform answered. Read it, or discard it. */
export interface Answer {
  readonly status: number;
  /** Without parameters, in lower case. */
  readonly contentType: string;
  /** How long the platform asks us to wait, bounded; null when it does not say. */
  readonly retryAfterMs: number | null;
  text(): Promise<string>;
  /** The answer, when it is an error, in a line. */
  describe(): Promise<string>;
  discard(): void;
}

export interface Call {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  /** How long, awake, until the answer begins. */
  readonly answerMs: number;
  /** Gives it up, as long as no answer has begun. */
  readonly signal?: AbortSignal;
}

/** There was no answer. */
export class Unanswered extends Error {
  override readonly name = 'Unanswered';
  /** Whether the request may have reached the platform all the same. */
  readonly mayHaveArrived: boolean;
  /** Whether it can never succeed: a request that cannot even be written. */
  readonly hopeless: boolean;
  /** Whether `answerMs` were over: of a question that the platform holds open that is no failure. */
  readonly timedOut: boolean;

  constructor(
    message: string,
    how: { mayHaveArrived: boolean; hopeless: boolean; timedOut: boolean },
  ) {
    super(message);
    this.mayHaveArrived = how.mayHaveArrived;
    this.hopeless = how.hopeless;
    this.timedOut = how.timedOut;
  }
}

/** From the first byte of an answer to its last: the largest is a batch of jobs with their images. */
const BODY_MS = 120_000;

/** How long the body of an error is waited for: what it says is for a log, and its status is known. */
const EXPLANATION_MS = 2_000;

/** Characters of an error's body that are told. */
const EXCERPT = 300;

/** Longer than a busy event loop stands still, as a rule; shorter than any freeze that matters. */
const FROZEN_MS = 5_000;
const BEAT_MS = 1_000;

/** What platforms and proxies ask for is seconds; an hour would be a mistake of theirs. */
const MAX_RETRY_AFTER_MS = 60_000;

/** Errors that come before a connection stands: nothing was sent. */
const NEVER_SENT: ReadonlySet<unknown> = new Set([
  'EAI_AGAIN',
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** Speaks to the platform: the key on every request, every wait bounded, no connection older than a freeze. */
export class HttpClient {
  readonly #headers: Readonly<Record<string, string>>;
  readonly #key: PlatformKey;
  readonly #onThaw: (afterMs: number) => void;
  readonly #retired = new Set<Agent>();
  readonly #beat: NodeJS.Timeout;
  #agent = newAgent();
  #isClosed = false;
  #awakeAt = performance.now();

  constructor(key: PlatformKey, userAgent: string, onThaw: (afterMs: number) => void = () => {}) {
    this.#key = key;
    this.#headers = { Authorization: key.reveal(), Accept: '*/*', 'User-Agent': userAgent };
    this.#onThaw = onThaw;
    this.#beat = setInterval(() => this.#look(), BEAT_MS);
    this.#beat.unref();
  }

  /** @throws Unanswered */
  async send(call: Call): Promise<Answer> {
    this.#look();
    const giveUp = new AbortController();
    const unwanted = () => giveUp.abort(new Error('given up'));
    const late = new Error(`no answer in ${call.answerMs} ms`);
    const stopClock = afterAwake(call.answerMs, () => giveUp.abort(late));
    if (call.signal?.aborted) unwanted();
    call.signal?.addEventListener('abort', unwanted);
    try {
      const response = await request(call.url, {
        dispatcher: this.#agent,
        method: call.method,
        headers: { ...this.#headers, ...call.headers },
        body: call.body ?? null,
        signal: giveUp.signal,
      });
      return this.#answerOf(response);
    } catch (error) {
      throw this.#unanswered(error, error === late);
    } finally {
      // An answer that has begun is read to its end, whatever happens: it may hold a job.
      stopClock();
      call.signal?.removeEventListener('abort', unwanted);
    }
  }

  /** Ends every connection, with whatever is on it. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#beat);
    await Promise.all([this.#agent, ...this.#retired].map((agent) => agent.destroy()));
  }

  /** Whether the process stood still since the last look. Then no connection from before is used again. */
  #look(): void {
    if (this.#isClosed) return;
    const now = performance.now();
    const stood = now - this.#awakeAt;
    this.#awakeAt = now;
    if (stood < FROZEN_MS) return;
    const old = this.#agent;
    this.#agent = newAgent();
    this.#retired.add(old);
    // What is under way on it ends first: it may be bringing a job.
    void old
      .close()
      .catch(() => {}) // it is destroyed, by our own `close`
      .then(() => this.#retired.delete(old));
    this.#onThaw(stood);
  }

  #answerOf({ statusCode, headers, body }: Dispatcher.ResponseData): Answer {
    const contentType = String(headers['content-type'] ?? '');
    return {
      status: statusCode,
      contentType: contentType.split(';')[0]?.trim().toLowerCase() ?? '',
      retryAfterMs: parseRetryAfter(headers['retry-after']),
      text: () => this.#read(body, body.text()),
      describe: async () => {
        const said = await excerpt(body);
        const line = this.#key.redact(said).replaceAll(/\s+/g, ' ').trim();
        return `the platform answered ${statusCode}${line && `: ${line}`}`;
      },
      // The status was the answer; whether the rest of it comes is of no interest.
      discard: () => void body.dump({ limit: 65_536 }).catch(() => {}),
    };
  }

  async #read<T>(body: Dispatcher.ResponseData['body'], reading: Promise<T>): Promise<T> {
    const stopClock = destroyAfter(BODY_MS, body);
    try {
      return await reading;
    } catch (error) {
      throw this.#unanswered(error);
    } finally {
      stopClock();
    }
  }

  #unanswered(error: unknown, timedOut = false): Unanswered {
    const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
    const text = [code, message].filter(Boolean).join(': ') || String(error);
    const hopeless = code === 'UND_ERR_INVALID_ARG';
    const mayHaveArrived = !hopeless && !NEVER_SENT.has(code);
    return new Unanswered(this.#key.redact(text), { mayHaveArrived, hopeless, timedOut });
  }
}

function newAgent(): Agent {
  return new Agent({
    // One request a connection, as the reference: a long poll must not share its fate with a result.
    allowH2: false,
    pipelining: 1,
    keepAliveTimeout: 10_000,
    keepAliveMaxTimeout: 60_000,
    // Ours, because these would count a freeze, and end a long poll.
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: {
      timeout: 10_000,
      // A long poll to a platform that is gone is found dead 20 s later, and not when it would have ended:
      // ten probes, one a second (libuv), after ten seconds of silence.
      keepAlive: true,
      keepAliveInitialDelay: 10_000,
    },
  });
}

/** The beginning of a body: what an error says of itself is short, or a page that nobody reads. Never rejects. */
async function excerpt(body: Dispatcher.ResponseData['body']): Promise<string> {
  const stopClock = destroyAfter(EXPLANATION_MS, body);
  const decoder = new TextDecoder();
  let text = '';
  try {
    for await (const chunk of body) {
      text += decoder.decode(chunk as Buffer, { stream: true });
      if (text.length > EXCERPT) break; // which destroys the body
    }
  } catch {
    // The rest does not come: what has come is told.
  } finally {
    stopClock();
  }
  return text.slice(0, EXCERPT);
}

/** @returns takes it back. */
function destroyAfter(ms: number, body: Dispatcher.ResponseData['body']): () => void {
  return afterAwake(ms, () => body.destroy(new Error('its end never came')));
}

/** RFC 9110, 10.2.3: seconds, or a date. */
function parseRetryAfter(header: string | string[] | undefined): number | null {
  if (typeof header !== 'string') return null;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS);
}
