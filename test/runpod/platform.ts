/**
 * A stand-in for the RunPod platform: it hands out jobs, takes results and pings, and misbehaves as it is told.
 *
 * On its own, with nothing but jobs to hand out, it prints a worker's environment and then what it gets:
 *
 *     node test/runpod/platform.ts --jobs 20 [--input '{"a":1}'] [--port 0] [--latency 0]
 */
import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type HandOut, HandOuts } from './hand-outs.ts';

export const WORKER_ID = 'worker1';
export const KEY = 'platform-secret';

/**
 * What a request gets in place of what it wants: a status, a page of HTML, JSON that is none, no answer for a
 * while, or a connection that is dropped before or after its body was read. `lose-answer`: all is done that it asks
 * for, jobs are handed out too, and the connection is dropped in place of the answer.
 */
export type Fault =
  | number
  | 'html'
  | 'garbage'
  | 'slow'
  | 'drop-before'
  | 'drop-after'
  | 'lose-answer'
  /** `endless`: the body's end never comes. */
  | { status: number; headers: Record<string, string>; body?: string; endless?: true };

/** A request in the form of the recordings; `t` in seconds, `status` is what was answered. */
export interface RecordedRequest {
  t: number;
  method: string;
  path: string;
  query: string;
  status: number | string;
  note: string;
  headers: Record<string, string>;
  body_bytes: number | null;
  body: string | null;
}

/** A result that was accepted. */
export interface Acceptance {
  readonly jobId: string;
  readonly workerId: string;
  /** Seconds, by the platform's clock. */
  readonly t: number;
  /** Whether the whole answer was handed to the network, on a connection that stood. */
  acknowledged: boolean;
}

export interface PlatformOptions {
  /** How long a request for jobs or stop signals is held open. */
  readonly holdMs?: number;
  /** How long every other answer takes. */
  readonly latencyMs?: number;
  /** How long a `slow` one takes. */
  readonly slowMs?: number;
  readonly port?: number;
  /**
   * A job that was handed out is queued again when no ping has named it for so long, as the platform does when a
   * worker is gone. Default: never.
   */
  readonly heartbeatMs?: number;
  /** Asked for what a request gets, where nothing else is in store for it. `kind`: `job-take`, `job-done`, ... */
  readonly faultFor?: (kind: string, jobId: string) => Fault | undefined;
}

const RECORDED_HEADERS = ['content-type', 'authorization', 'accept', 'x-request-id', 'charset'];

export class StandInPlatform {
  /** All requests, in the order of their answers. */
  readonly requests: RecordedRequest[] = [];
  /** The bodies that were accepted, by the id of their job; progress too. */
  readonly accepted = new Map<string, unknown[]>();
  /** The results among them, in their order. */
  readonly acceptances: Acceptance[] = [];
  /** What is to be handed out: jobs, or anything else. */
  readonly #queue: unknown[] = [];
  readonly #takeFaults: Fault[] = [];
  readonly #resultFaults = new Map<string, Fault[]>();
  readonly #stopFaults: Fault[] = [];
  readonly #toStop: string[] = [];
  readonly #pingFaults: Fault[] = [];
  readonly #changes = new EventEmitter().setMaxListeners(0);
  readonly #handOuts = new HandOuts();
  readonly #options: Required<PlatformOptions>;
  readonly #server: Server;
  readonly #since = performance.now();
  readonly #held = new Set<string>();
  #port = 0;
  #heartbeat: NodeJS.Timeout | undefined;

  private constructor(options: PlatformOptions) {
    this.#options = {
      holdMs: 200,
      latencyMs: 0,
      slowMs: 100,
      port: 0,
      heartbeatMs: Number.POSITIVE_INFINITY,
      faultFor: () => undefined,
      ...options,
    };
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.keepAliveTimeout = 60_000;
  }

  static async start(options: PlatformOptions = {}): Promise<StandInPlatform> {
    const platform = new StandInPlatform(options);
    await platform.#listen(platform.#options.port);
    platform.#startHeartbeat();
    return platform;
  }

  #startHeartbeat(): void {
    const { heartbeatMs } = this.#options;
    if (!Number.isFinite(heartbeatMs)) return;
    this.#heartbeat = setInterval(() => {
      const lost = this.#handOuts.takeLost(this.now() - heartbeatMs / 1000);
      this.#queue.unshift(...lost);
      if (lost.length > 0) this.look();
    }, heartbeatMs / 8);
  }

  async #listen(port: number): Promise<void> {
    this.#server.listen(port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    clearInterval(this.#heartbeat);
    await this.#hangUp();
  }

  async #hangUp(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    this.look();
    await once(this.#server, 'close');
  }

  get port(): number {
    return this.#port;
  }

  /** Seconds since it was started: the clock of all that it notes. */
  now(): number {
    return (performance.now() - this.#since) / 1000;
  }

  /** Every job that was given to a worker, in order. */
  get handOuts(): readonly HandOut[] {
    return this.#handOuts.all;
  }

  /** How many things wait to be handed out. */
  get queued(): number {
    return this.#queue.length;
  }

  /** Not there at all for as long as that takes: every connection is cut, new ones are refused. */
  async outage(during: () => Promise<void>): Promise<void> {
    await this.#hangUp();
    await during();
    await this.#listen(this.#port);
  }

  /** What a worker finds in its environment. */
  env(intervalMs = 10_000, port = this.#port): Record<string, string> {
    const base = `http://127.0.0.1:${port}/v2/ep1`;
    return {
      RUNPOD_WEBHOOK_GET_JOB: `${base}/job-take/$ID?gpu=H200`,
      RUNPOD_WEBHOOK_POST_OUTPUT: `${base}/job-done/$RUNPOD_POD_ID/$ID?gpu=H200`,
      RUNPOD_WEBHOOK_POST_STREAM: `${base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=H200`,
      RUNPOD_WEBHOOK_PING: `${base}/ping/$RUNPOD_POD_ID`,
      RUNPOD_PING_INTERVAL: String(intervalMs),
      RUNPOD_POD_ID: WORKER_ID,
      RUNPOD_AI_API_KEY: KEY,
      RUNPOD_ENDPOINT_ID: 'ep1',
    };
  }

  /** Put jobs, or what is none, into the queue. An array is handed out as it is, by the next request. */
  queue(...items: unknown[]): void {
    this.#queue.push(...items);
    this.look();
  }

  /** The next requests for jobs get these. */
  spoilTakes(...faults: Fault[]): void {
    this.#takeFaults.push(...faults);
  }

  /** The next posts for this job get these. */
  spoilResults(jobId: string, ...faults: Fault[]): void {
    this.#resultFaults.set(jobId, [...(this.#resultFaults.get(jobId) ?? []), ...faults]);
  }

  spoilStopSignals(...faults: Fault[]): void {
    this.#stopFaults.push(...faults);
  }

  spoilPings(...faults: Fault[]): void {
    this.#pingFaults.push(...faults);
  }

  /** Nothing is spoilt any more for this job. */
  mend(jobId: string): void {
    this.#resultFaults.delete(jobId);
  }

  /** Tell the worker to stop a job. */
  stop(...jobIds: string[]): void {
    this.#toStop.push(...jobIds);
    this.look();
  }

  /** The results that were accepted for a job, without its progress. */
  results(jobId: string): Record<string, unknown>[] {
    const bodies = (this.accepted.get(jobId) ?? []) as Record<string, unknown>[];
    return bodies.filter((body) => body.status !== 'IN_PROGRESS');
  }

  /** Requests whose path has this in it. */
  requestsTo(part: string): RecordedRequest[] {
    return this.requests.filter(({ path }) => path.includes(part));
  }

  /** Whether a request to a path with this in it is held open. */
  isHolding(part: string): boolean {
    return [...this.#held].some((path) => path.includes(part));
  }

  /** Whoever waits for something looks again. */
  look(): void {
    this.#changes.emit('change');
  }

  /** Resolves when it is so: looked at after every request, and whenever `look` is called. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await once(this.#changes, 'change');
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, search } = new URL(request.url ?? '', 'http://platform');
    const [, , , kind = '', workerId = '', last = ''] = pathname.split('/');
    const jobId = decodeURIComponent(last);
    const fault = this.#faultFor(kind, jobId) ?? this.#options.faultFor(kind, jobId);
    const record: RecordedRequest = {
      t: 0,
      method: request.method ?? '',
      path: pathname,
      query: search.slice(1),
      status: '',
      note: '',
      headers: Object.fromEntries(
        RECORDED_HEADERS.flatMap((name) => {
          const value = request.headers[name];
          return value === undefined ? [] : [[name, String(value)]];
        }),
      ),
      body_bytes: null,
      body: null,
    };
    try {
      if (fault === 'drop-before') {
        record.status = 'drop';
        request.socket.destroy();
        return;
      }
      if (record.method === 'POST') {
        record.body = Buffer.concat(await request.toArray()).toString('utf8');
        record.body_bytes = Buffer.byteLength(record.body);
      }
      await this.#answer({ kind, jobId, workerId }, fault, record, response);
    } catch {
      record.status ||= 'gone'; // the worker has hung up
    } finally {
      record.t = Math.round(performance.now() - this.#since) / 1000;
      this.requests.push(record);
      this.look();
    }
  }

  #faultFor(kind: string, jobId: string): Fault | undefined {
    if (kind.startsWith('job-take')) return this.#takeFaults.shift();
    if (kind === 'job-stop') return this.#stopFaults.shift();
    if (kind === 'ping') return this.#pingFaults.shift();
    return this.#resultFaults.get(jobId)?.shift();
  }

  async #answer(
    call: Call,
    fault: Fault | undefined,
    record: RecordedRequest,
    response: ServerResponse,
  ): Promise<void> {
    const { kind } = call;
    const isTake = kind.startsWith('job-take');
    if (fault === 'slow') await sleep(this.#options.slowMs);
    else if (fault === 'drop-after' || (fault === 'lose-answer' && !isTake)) {
      this.#accept(call, record);
      record.status = 'drop';
      response.socket?.destroy();
      return;
    } else if (fault === 'lose-answer') {
      this.#lose(call, record, response);
      return;
    } else if (fault !== undefined) {
      record.note = 'scripted by the platform';
      spoil(record, response, fault);
      return;
    }
    if (kind === 'job-stop' || isTake) {
      await this.#handOut(call, record, response);
      return;
    }
    await sleep(this.#options.latencyMs);
    const acceptance = this.#accept(call, record);
    if (acceptance) {
      const { socket } = response;
      response.once('finish', () => {
        acceptance.acknowledged = socket?.destroyed === false;
      });
    }
    send(record, response, 200, '{}');
  }

  /** @returns the result that it was, if it was one. */
  #accept({ kind, jobId, workerId }: Call, { body, query }: RecordedRequest) {
    if (kind === 'ping') this.#hearOf(query);
    if (kind !== 'job-done' || body === null) return;
    const said = JSON.parse(body);
    this.accepted.set(jobId, [...(this.accepted.get(jobId) ?? []), said]);
    if (said.status === 'IN_PROGRESS') return;
    const acceptance = { jobId, workerId, t: this.now(), acknowledged: false };
    this.acceptances.push(acceptance);
    this.#handOuts.close(jobId);
    this.#unqueue(jobId);
    return acceptance;
  }

  #hearOf(query: string): void {
    const ids = new URLSearchParams(query).get('job_id')?.split(',') ?? [];
    this.#handOuts.hear(ids, this.now());
  }

  /** Nobody is given what is answered already. */
  #unqueue(jobId: string): void {
    if (!Number.isFinite(this.#options.heartbeatMs)) return; // then only tests queue, what they mean to
    const at = this.#queue.findIndex((job) => (job as { id?: unknown } | null)?.id === jobId);
    if (at >= 0) this.#queue.splice(at, 1);
  }

  /** Jobs go out, and never arrive. */
  #lose({ workerId }: Call, record: RecordedRequest, response: ServerResponse): void {
    const given = nextOf(this.#queue, wantedBy(record));
    this.#handOuts.give(given, workerId, this.now());
    record.status = 'drop';
    record.note = idsOf(given);
    response.socket?.destroy();
  }

  /** Jobs or stop signals: now, or when there are any, or none after a while. */
  async #handOut(
    { kind, workerId }: Call,
    record: RecordedRequest,
    response: ServerResponse,
  ): Promise<void> {
    const source = kind === 'job-stop' ? this.#toStop : this.#queue;
    const until = AbortSignal.timeout(this.#options.holdMs);
    this.#held.add(record.path);
    this.look();
    await sleep(kind === 'job-stop' ? 0 : this.#options.latencyMs);
    while (source.length === 0 && !until.aborted && !response.destroyed) {
      await once(this.#changes, 'change', { signal: until }).catch(() => {});
    }
    this.#held.delete(record.path);
    if (response.destroyed) throw new Error('the worker has hung up'); // nothing is handed to nobody
    if (source.length === 0) return send(record, response, 204, '');
    const given = kind === 'job-stop' ? source.splice(0) : nextOf(source, wantedBy(record));
    record.note = idsOf(given);
    if (kind !== 'job-stop') this.#handOuts.give(given, workerId, this.now());
    if (kind === 'job-stop') send(record, response, 200, JSON.stringify({ jobsToStop: given }));
    else send(record, response, 200, JSON.stringify(kind === 'job-take' ? one(given) : given));
  }
}

/** Who wants what. */
interface Call {
  readonly kind: string;
  readonly jobId: string;
  readonly workerId: string;
}

/** How many jobs a request for jobs is for. */
function wantedBy({ query }: RecordedRequest): number {
  return Number(new URLSearchParams(query).get('batch_size') ?? 1);
}

function idsOf(given: unknown): string {
  return (given as { id?: unknown }[]).map((item) => item?.id ?? item).join(',');
}

/** A list as it is, or so many of what comes before the next list. */
function nextOf(queue: unknown[], wanted: number): unknown {
  if (Array.isArray(queue[0])) return queue.shift();
  const nextList = queue.findIndex((item) => Array.isArray(item));
  return queue.splice(0, nextList < 0 ? wanted : Math.min(wanted, nextList));
}

function one(given: unknown): unknown {
  return Array.isArray(given) && given.length === 1 ? given[0] : given;
}

function spoil(record: RecordedRequest, response: ServerResponse, fault: Fault): void {
  if (fault === 'html') {
    record.status = 'html';
    response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Bad gateway</html>');
  } else if (fault === 'garbage') {
    record.status = 'garbage';
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"id": "half a jo');
  } else if (typeof fault === 'object') {
    record.status = fault.status;
    response.writeHead(fault.status, fault.headers);
    if (fault.endless) response.write(fault.body ?? '');
    else response.end(fault.body);
  } else if (typeof fault === 'number') {
    send(record, response, fault, fault === 204 ? '' : '{"error":"scripted by the platform"}');
  }
}

function send(
  record: RecordedRequest,
  response: ServerResponse,
  status: number,
  body: string,
): void {
  record.status = status;
  response.writeHead(status, body ? { 'content-type': 'application/json; charset=utf-8' } : {});
  response.end(body);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      jobs: { type: 'string', default: '1' },
      input: { type: 'string', default: '{}' },
      port: { type: 'string', default: '0' },
      latency: { type: 'string', default: '0' },
    },
  });
  const platform = await StandInPlatform.start({
    holdMs: 20_000,
    latencyMs: Number(values.latency),
    port: Number(values.port),
  });
  for (const [name, value] of Object.entries(platform.env())) {
    process.stdout.write(`export ${name}='${value}'\n`);
  }
  const ids = Array.from({ length: Number(values.jobs) }, (_, n) => `job-${n}`);
  platform.queue(...ids.map((id) => ({ id, input: JSON.parse(values.input) })));
  for (let seen = 0; ; ) {
    await platform.until(() => platform.requests.length > seen);
    for (const request of platform.requests.slice(seen)) {
      const body =
        request.body && request.body.length > 200
          ? `${request.body.slice(0, 200)}...`
          : request.body;
      process.stdout.write(`${JSON.stringify({ ...request, body })}\n`);
    }
    seen = platform.requests.length;
  }
}

if (import.meta.main) await main();
