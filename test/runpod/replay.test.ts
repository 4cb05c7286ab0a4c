import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Handler } from '../../src/runpod/handler.ts';
import type { Fault, RecordedRequest } from './platform.ts';
import { job, type Rig, startRig } from './rig.ts';

/**
 * What the official SDK has sent, request by request, is sent again by ours: the platform answers as it did
 * then, and the requests are compared. Where they differ on purpose, the difference is asserted here and
 * justified in docs/runpod.md.
 */
function recording(name: string): RecordedRequest[] {
  const file = path.join(import.meta.dirname, '..', 'fixtures', 'runpod', 'recordings', name);
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as RecordedRequest);
}

const isTake = ({ path }: RecordedRequest) => path.includes('/job-take');
const isPost = ({ method }: RecordedRequest) => method === 'POST';
const jobOf = ({ path }: RecordedRequest) => path.split('/').at(-1) ?? '';
const idsOf = (requests: RecordedRequest[]) =>
  requests.filter((it) => isTake(it) && it.status === 200).map(({ note }) => note);

/** The recorded bodies of images are cut off. */
const isCut = (body: string) => body.endsWith('...');

/** A handler that does what the recorded one must have done. */
function handlerOf(requests: RecordedRequest[]): Handler {
  return async ({ id }, { signal, progress }) => {
    const bodies = requests
      .filter((it) => isPost(it) && jobOf(it) === id)
      .map((it) => it.body ?? '');
    const last = bodies.at(-1);
    if (last === undefined) {
      await new Promise((resolve) => signal.addEventListener('abort', resolve)); // it was stopped
      return null;
    }
    if (last.startsWith('{"error": "{')) throw new Error('boom'); // and so it says further on
    if (isCut(last)) return { image_base64: 'iVBORw0KGgo' };
    for (const body of bodies) {
      const { status, output } = JSON.parse(body);
      if (status === 'IN_PROGRESS') progress(output);
    }
    const { output = {}, error } = JSON.parse(last);
    return error ? { error, ...output } : output;
  };
}

/** Our worker, through what a recording went through. */
async function replay(requests: RecordedRequest[]): Promise<Rig> {
  const ids = idsOf(requests);
  const rig = await startRig({
    handler: handlerOf(requests),
    pingMs: 50,
    prepare: (platform) => {
      const firstJob = requests.findIndex((it) => it.note === ids[0]);
      const before = requests.slice(0, firstJob).filter(isTake);
      platform.spoilTakes(...before.map(({ status }) => status as Fault));
      for (const id of ids) {
        const posts = requests.filter((it) => isPost(it) && jobOf(it) === id && it.status !== 200);
        const faults = posts.map(
          ({ status }) => (status === 'drop' ? 'drop-after' : status) as Fault,
        );
        // The SDK gave up after three; the platform would have failed six times.
        platform.spoilResults(id, ...(id === 'fail-six' ? Array<Fault>(6).fill(500) : faults));
      }
      platform.queue(...ids.map((id) => job(id)));
    },
  });
  const { platform, of } = rig;
  const isStopped = (id: string) => !requests.some((it) => isPost(it) && jobOf(it) === id);
  for (const id of ids.filter(isStopped)) {
    await platform.until(() => of('taken').some((event) => event.id === id));
    platform.stop(id);
  }
  await platform.until(() => of('delivered').length + of('stopped').length === ids.length);
  await platform.until(() => platform.requestsTo('/ping/').length > 2);
  await rig.end();
  return rig;
}

/** How a request looks, without what is different every time. */
function formOf({ method, path, query, headers }: RecordedRequest): string {
  const last = method === 'POST' ? path.replace(/[^/]+$/, 'ID') : path;
  const asked = query
    .replace(/job_in_progress=[01]/, 'job_in_progress=N')
    .replace(/job_id=[^&]+/, 'job_id=IDS');
  const { 'x-request-id': requestId, ...rest } = headers;
  if (method === 'POST' && requestId)
    rest['x-request-id'] = requestId === jobOf({ path } as RecordedRequest) ? 'ID' : requestId;
  const lines = Object.entries(rest).map(([name, value]) => `${name}: ${value}`);
  return [`${method} ${last}?${asked}`, ...lines.sort()].join('\n');
}

const formsOf = (requests: RecordedRequest[]) => new Set(requests.map(formOf));

/** The bodies that were posted for a job, as what they say. */
function saidFor(id: string, requests: RecordedRequest[]): unknown[] {
  const posts = requests.filter((it) => isPost(it) && jobOf(it) === id);
  return posts.map(({ body }) => (body && !isCut(body) ? JSON.parse(body) : body));
}

const NAMES = ['sdk-1.12.0-20-jobs', 'sdk-1.12.0-faults', 'sdk-1.12.0-stop'] as const;
const RECORDED = Object.fromEntries(NAMES.map((name) => [name, recording(`${name}.jsonl`)]));
const ALL_FORMS = formsOf(Object.values(RECORDED).flat());

describe.each(NAMES)('%s', (name) => {
  const recorded = RECORDED[name] ?? [];

  it('is sent in the same form: path, query and headers', async () => {
    const { platform } = await replay(recorded);
    for (const form of formsOf(platform.requests)) expect(ALL_FORMS).toContain(form);
    for (const kind of ['/job-take/', '/job-stop/', '/ping/', '/job-done/']) {
      expect(platform.requestsTo(kind).length).toBeGreaterThan(0);
    }
  });

  it('is answered with the same bodies, in the same order, but for what is better', async () => {
    const { platform, of } = await replay(recorded);
    expect(idsOf(platform.requests)).toEqual(idsOf(recorded));
    for (const id of idsOf(recorded)) {
      const theirs = saidFor(id, recorded);
      const ours = saidFor(id, platform.requests);
      if (id === 'fail-six')
        expect(ours).toEqual(Array(7).fill(theirs[0])); // not lost after 3
      else if (id === 'dropped')
        expect(ours).toEqual([theirs[0], theirs[0]]); // not lost at once
      else if (id === 'forbidden')
        expect(ours).toEqual([theirs[0], theirs[0]]); // nor here
      else if (id === 'raises')
        expect(ours).toEqual([{ error: 'boom' }]); // no traceback for strangers
      else if (isImage(theirs)) expect(ours).toEqual([{ output: { image_base64: 'iVBORw0KGgo' } }]);
      else expect(ours).toEqual(theirs);
    }
    expect(of('dropped')).toEqual([]);
  });
});

const isImage = ([said]: unknown[]) => String(said).startsWith('{"output": {"image_base64": ');

describe('what differs on purpose', () => {
  it("is that a request for jobs does not carry the last job's id", async () => {
    const theirs = RECORDED['sdk-1.12.0-faults']?.filter(isTake) ?? [];
    expect(theirs.some(({ headers }) => 'x-request-id' in headers)).toBe(true);
    const { platform } = await replay(RECORDED['sdk-1.12.0-faults'] ?? []);
    const ours = platform.requests.filter((it) => !isPost(it));
    expect(ours.some(({ headers }) => 'x-request-id' in headers)).toBe(false);
  });

  it('is that the next job is asked for while the last result is on its way', async () => {
    const theirs = RECORDED['sdk-1.12.0-20-jobs']?.filter(isTake) ?? [];
    expect(new Set(theirs.map(({ query }) => query))).toEqual(
      new Set(['gpu=H200&job_in_progress=0']),
    );
    const { platform } = await replay(RECORDED['sdk-1.12.0-20-jobs'] ?? []);
    const ours = platform.requests.filter(isTake).map(({ query }) => query);
    expect(ours).toContain('gpu=H200&job_in_progress=1');
  });

  it('is two headers that 1.6.1 did not send and 1.12.0 does', async () => {
    const old = recording('sdk-1.6.1-20-jobs.jsonl');
    const { platform } = await replay(old);
    const asOld = platform.requests
      .filter((it) => !it.path.includes('/job-stop/')) // 1.6.1 does not ask for stop signals
      .map(({ headers, ...rest }) => {
        const { 'x-request-id': _, ...fewer } = headers;
        if (rest.method === 'GET') delete fewer['content-type'];
        return { ...rest, query: rest.query.replace('1.12.0', '1.6.1'), headers: fewer };
      });
    const oldForms = formsOf(old);
    for (const form of formsOf(asOld)) expect(oldForms).toContain(form);
  });
});
