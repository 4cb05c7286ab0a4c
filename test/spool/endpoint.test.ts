import { describe, expect, it } from 'vitest';
import { endpointName } from '../../src/spool/endpoint.ts';

const nameOf = (url: string) => endpointName({ outputUrl: url });
const URL = 'https://api.runpod.ai/v2/abc123/job-done/$RUNPOD_POD_ID/$ID?gpu=A40&signature=s3cret';

describe("the name of an endpoint's folder", () => {
  it('is a file name that a person can read, without what may be a secret', () => {
    expect(nameOf(URL)).toMatch(/^https___api\.runpod\.ai_v2_abc123_job-done_.*~[0-9a-f]{12}$/);
    expect(nameOf(URL)).not.toContain('s3cret');
  });

  it('is the same for all its workers, whatever they run on', () => {
    expect(nameOf(URL.replace('A40', 'H100'))).toBe(nameOf(URL));
  });

  it.each([
    ['endpoint', URL.replace('abc123', 'abc-123')],
    ['host', URL.replace('api.', 'api-dev.')],
    ['scheme', URL.replace('https', 'http')],
  ])('is another for another %s', (_what, other) => {
    expect(nameOf(other)).not.toBe(nameOf(URL));
  });
});
