import { inspect } from 'node:util';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import {
  outputUrlFor,
  type Platform,
  PlatformError,
  PlatformKey,
  readPlatform,
  takeUrlFor,
} from '../../src/runpod/platform.ts';
import { job, startRig } from './rig.ts';

const ENV = {
  RUNPOD_WEBHOOK_GET_JOB: 'https://api.runpod.ai/v2/ep/job-take/$ID?gpu=A40',
  RUNPOD_WEBHOOK_POST_OUTPUT: 'https://api.runpod.ai/v2/ep/job-done/$RUNPOD_POD_ID/$ID?gpu=A40',
  RUNPOD_WEBHOOK_PING: 'https://api.runpod.ai/v2/ep/ping/$RUNPOD_POD_ID',
  RUNPOD_POD_ID: 'pod7',
  RUNPOD_AI_API_KEY: 'the-key',
};

const read = (more: Record<string, string | undefined> = {}) =>
  readPlatform({ ...ENV, ...more }) as Platform;

describe("the platform's environment", () => {
  it('is none where there is no queue', () => {
    expect(readPlatform({})).toBeNull();
    expect(readPlatform({ ...ENV, RUNPOD_WEBHOOK_GET_JOB: '' })).toBeNull();
  });

  it('says where everything is', () => {
    const platform = read();
    const base = 'https://api.runpod.ai/v2/ep';
    expect(takeUrlFor(platform, 1, false)).toBe(`${base}/job-take/pod7?gpu=A40&job_in_progress=0`);
    expect(takeUrlFor(platform, 3, true)).toBe(
      `${base}/job-take-batch/pod7?gpu=A40&batch_size=3&job_in_progress=1`,
    );
    expect(outputUrlFor(platform, 'abc-u1')).toBe(
      `${base}/job-done/pod7/abc-u1?gpu=A40&isStream=false`,
    );
    expect(platform.stopUrl).toBe(`${base}/job-stop/pod7?gpu=A40`);
    expect(platform.ping).toEqual({ url: `${base}/ping/pod7`, intervalMs: 10_000 });
  });

  it('puts ids into URLs as what they are', () => {
    expect(outputUrlFor(read(), '../$&?x')).toContain('/job-done/pod7/..%2F%24%26%3Fx?gpu=A40');
  });

  it('begins a query where there is none', () => {
    const bare = read({ RUNPOD_WEBHOOK_GET_JOB: 'http://x/job-take/$ID' });
    expect(takeUrlFor(bare, 1, false)).toBe('http://x/job-take/pod7?job_in_progress=0');
  });

  it('has no stop signals where their URL cannot be told', () => {
    expect(read({ RUNPOD_WEBHOOK_GET_JOB: 'http://x/jobs/$ID' }).stopUrl).toBeNull();
  });

  it('needs no ping, and no name', () => {
    expect(read({ RUNPOD_WEBHOOK_PING: '' }).ping).toBeNull();
    expect(read({ RUNPOD_POD_ID: undefined }).workerId).toMatch(/^[0-9a-f-]{36}$/);
  });

  it.each([
    [{ RUNPOD_WEBHOOK_POST_OUTPUT: '' }, /RUNPOD_WEBHOOK_POST_OUTPUT is not set/],
    [{ RUNPOD_WEBHOOK_POST_OUTPUT: 'http://x/y' }, /RUNPOD_WEBHOOK_POST_OUTPUT must contain \$ID/],
    [{ RUNPOD_WEBHOOK_GET_JOB: 'ftp://x' }, /RUNPOD_WEBHOOK_GET_JOB is not a URL .*: ftp:\/\/x/],
    [{ RUNPOD_WEBHOOK_PING: 'nowhere' }, /RUNPOD_WEBHOOK_PING is not a URL .*: nowhere/],
    [{ RUNPOD_AI_API_KEY: '' }, /RUNPOD_AI_API_KEY is not set/],
    [{ RUNPOD_AI_API_KEY: 'line\nbreak' }, /RUNPOD_AI_API_KEY has characters/],
    [{ RUNPOD_PING_INTERVAL: 'soon' }, /RUNPOD_PING_INTERVAL must be a number/],
    [{ RUNPOD_PING_INTERVAL: '0' }, /RUNPOD_PING_INTERVAL must be at least/],
  ])('is refused with %o', (wrong, message) => {
    expect(() => read(wrong)).toThrow(PlatformError);
    expect(() => read(wrong)).toThrow(message);
  });

  it("is told without a URL's query, which may be a signature", () => {
    const signed = () => read({ RUNPOD_WEBHOOK_PING: 'ftp://x/ping?signature=abc#def' });
    expect(signed).toThrow(/: ftp:\/\/x\/ping$/);
  });
});

describe("the platform's key", () => {
  it('is in nothing that is printed, logged or serialised', () => {
    const platform = read();
    const lines: string[] = [];
    const log = pino({}, { write: (line: string) => lines.push(line) });
    log.info({ platform, key: platform.key }, `with ${platform.key}`);
    const shown = [inspect(platform, { depth: 9, showHidden: true }), JSON.stringify(platform)];
    expect([...shown, ...lines].join('\n')).not.toContain('the-key');
    expect(platform.key.reveal()).toBe('the-key');
  });

  it('is in no error about the environment', () => {
    const withKey = { RUNPOD_AI_API_KEY: 'k&y', RUNPOD_WEBHOOK_PING: 'ping/k&y/k%26y' };
    expect(() => read(withKey)).toThrow('ping/[platform key]/[platform key]');
    const unprintable = () => read({ RUNPOD_AI_API_KEY: 'secret\u0000' });
    expect(unprintable).toThrow(PlatformError);
    expect(unprintable).not.toThrow(/secret/);
  });

  it('is taken out of texts from outside', () => {
    expect(new PlatformKey('k$').redact('a k$ and k%24')).toBe(
      'a [platform key] and [platform key]',
    );
  });

  it('is in no event and no result, though platform and handler repeat it', async () => {
    const { platform, events, of } = await startRig({
      handler: () => {
        const cause = new Error('also in here: platform-secret');
        return Promise.reject(new Error('the key is platform-secret', { cause }));
      },
      prepare: (it) => {
        const said = { 'content-type': 'text/plain' };
        it.spoilTakes({ status: 500, headers: said, body: 'no platform-secret' });
        it.spoilStopSignals({ status: 500, headers: said, body: 'no platform-secret' });
        it.spoilPings({ status: 500, headers: said, body: 'no platform-secret' });
        it.spoilResults('a', { status: 500, headers: said, body: 'no platform-secret' });
        it.queue(job('a'));
      },
    });
    await platform.until(() => platform.results('a').length === 1);
    await platform.until(() => of('ping-failed').length + of('stop-poll-failed').length === 2);
    expect(inspect(events, { depth: 9 })).not.toContain('platform-secret');
    expect(JSON.stringify(events)).toContain('answered 500: no [platform key]');
    expect(platform.results('a')).toEqual([{ error: 'the key is [platform key]' }]);
  });
});
