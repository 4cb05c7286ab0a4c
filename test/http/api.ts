import { onTestFinished } from 'vitest';
import type { LocalJob } from '../../src/http/job.ts';
import { type ApiOptions, type LocalApi, startApi } from '../../src/http/server.ts';
import type { Handler, Job, JobContext } from '../../src/runpod/handler.ts';
import { recordingLog } from '../worker/programs.ts';

export const KEY = 'sk-a-key-of-the-server';
export const isKey = (key: string) => key === KEY;

/** A handler that does what the job's input says: `{"do": ...}`. */
export const obedient: Handler = async (job, context) => {
  const input = job.input as Record<string, unknown>;
  switch (input.do) {
    case 'echo':
      return { input, timings_ms: { unet: 12, total: 20 } };
    case 'fail':
      return {
        error: 'There is no image: send image_base64 or image_url.',
        status: 400,
        code: 'no_image',
      };
    case 'throw':
      throw new Error('it fell over');
    case 'report':
      for (const step of [1, 2]) context.progress({ step });
      return { steps: 2 };
    case 'wait':
      await aborted(context.signal);
      throw context.signal.reason;
    default:
      return { job: { ...job, input: null } };
  }
};

export async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

/** A job that runs until the test lets it go on. */
export class Held {
  readonly job: Job;
  readonly context: JobContext;
  readonly finish: (value: unknown) => void;

  constructor(job: Job, context: JobContext, finish: (value: unknown) => void) {
    this.job = job;
    this.context = context;
    this.finish = finish;
  }
}

/** A handler whose jobs the test finishes one by one, in the order that they were started in. */
export function heldHandler(): { handler: Handler; next: () => Promise<Held> } {
  const started: Held[] = [];
  const wanted: ((held: Held) => void)[] = [];
  return {
    handler: (job, context) =>
      new Promise((resolve) => {
        const held = new Held(job, context, resolve);
        const want = wanted.shift();
        if (want) want(held);
        else started.push(held);
      }),
    next: () =>
      new Promise((resolve) => {
        const held = started.shift();
        if (held) resolve(held);
        else wanted.push(resolve);
      }),
  };
}

export interface Api extends LocalApi {
  readonly ended: LocalJob[];
  /** Ask it something as whoever has the key. */
  ask(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer>;
}

export interface Answer {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: what came is for the test to look at
  json: any;
}

/** A server for this test, on loopback. */
export async function serveApi(options: Partial<ApiOptions> = {}): Promise<Api> {
  const ended: LocalJob[] = [];
  const { log } = recordingLog();
  const api = await startApi({ handler: obedient, isKey, log, port: 0, ...options });
  onTestFinished(() => api.close(0));
  const ask: Api['ask'] = async (method, path, body, headers) => {
    const response = await fetch(`${api.url}${path}`, {
      method,
      headers: headers ?? { authorization: `Bearer ${KEY}` },
      ...(body === undefined
        ? {}
        : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, json: parsed(text) };
  };
  return { ...api, ended, ask };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
