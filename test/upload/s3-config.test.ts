import { describe, expect, it } from 'vitest';
import { LotusError } from '../../src/errors.ts';
import { readS3Config } from '../../src/upload/s3-config.ts';
import { policyOf } from '../net/stage.ts';

const GOOD = {
  accessId: 'hunter-id',
  accessSecret: 'hunter-secret',
  bucketName: 'maps',
  endpointUrl: 'https://s3.eu-west-1.amazonaws.com/',
};

const read = (value: unknown, allowText = '') => readS3Config(value, policyOf({ allowText }).allow);

function refusalOf(value: unknown): LotusError {
  try {
    read(value);
  } catch (error) {
    if (error instanceof LotusError) return error;
    throw error;
  }
  return expect.fail('it was accepted');
}

describe("a job's s3Config", () => {
  it('is a bucket, whose keys show themselves nowhere', () => {
    const bucket = read({ ...GOOD, and: 'more' });
    expect(bucket).toMatchObject({
      endpoint: 'https://s3.eu-west-1.amazonaws.com',
      name: 'maps',
      region: 'eu-west-1',
    });
    expect(bucket?.accessKeyId.reveal()).toBe('hunter-id');
    expect(bucket?.secretAccessKey.reveal()).toBe('hunter-secret');
    expect(JSON.stringify(bucket)).not.toContain('hunter');
  });

  it.each([undefined, null])('may be missing: %s', (value) => {
    expect(read(value)).toBe(null);
  });

  it.each(Object.keys(GOOD))('is refused without %s, by its name', (name) => {
    const { [name as keyof typeof GOOD]: _, ...rest } = GOOD;
    expect(refusalOf(rest)).toMatchObject({
      code: 'invalid_input',
      message: `Invalid s3Config: ${name} is missing.`,
    });
  });

  it.each([
    'hunter',
    17,
    [GOOD],
    { ...GOOD, accessId: 'hunter id' },
    { ...GOOD, accessSecret: ['hunter'] },
    { ...GOOD, accessSecret: 'hunter\n' },
    { ...GOOD, bucketName: '../hunter' },
    { ...GOOD, bucketName: '..' },
    { ...GOOD, endpointUrl: 'https://s3.example.com/?hunter' },
    { ...GOOD, endpointUrl: `https://s3.example.com/${'a'.repeat(1000)}` },
  ])('is refused when it is wrong, and not repeated: %j', (value) => {
    const error = refusalOf(value);
    expect(error.code).toBe('invalid_input');
    expect(error.message).not.toContain('hunter');
  });

  it.each([
    'http://s3.example.com', // anybody on the way could read it
    'https://127.0.0.1:9000',
    'https://minio',
    'https://hunter:hunter@s3.example.com',
    'ftp://s3.example.com/hunter',
    'hunter',
  ])('may not name every storage: %s', (endpointUrl) => {
    const error = refusalOf({ ...GOOD, endpointUrl });
    expect(error.code).toBe('fetch_refused');
    expect(error.message).not.toContain('hunter');
  });

  it.each([
    ['http://minio:9000', 'minio'],
    ['http://10.0.0.5:9000', '10.0.0.0/8'],
  ])('may name %s where the operator allows %s', (endpointUrl, allowText) => {
    expect(read({ ...GOOD, endpointUrl }, allowText)?.endpoint).toBe(endpointUrl);
  });
});
