import { describe, expect, it } from 'vitest';
import { Secret } from '../../src/secret.ts';
import { type Bucket, objectUrl, readEndpoint, regionOf } from '../../src/upload/bucket.ts';

const bucketAt = (endpoint: string, name: string | null): Bucket => ({
  endpoint,
  name,
  region: 'us-east-1',
  accessKeyId: new Secret('id'),
  secretAccessKey: new Secret('key'),
  allow: { names: [], suffixes: [], networks: [] },
});

const NOVEMBER = new Date('2026-11-30T23:59:59Z');

describe('where an object is', () => {
  it.each([
    ['https://a.r2.cloudflarestorage.com', 'maps', 'https://a.r2.cloudflarestorage.com/maps/j/f'],
    [
      'https://maps.s3.eu-west-1.amazonaws.com',
      'maps',
      'https://maps.s3.eu-west-1.amazonaws.com/j/f',
    ],
    ['http://minio:9000/maps', 'maps', 'http://minio:9000/maps/j/f'],
    ['http://minio:9000/all', 'maps', 'http://minio:9000/all/maps/j/f'],
    [
      'https://maps.s3.eu-west-1.amazonaws.com',
      null,
      'https://maps.s3.eu-west-1.amazonaws.com/11-26/j/f',
    ],
    ['http://minio:9000', null, 'http://minio:9000/11-26/j/f'],
  ])('at %s in the bucket %s', (endpoint, name, wanted) => {
    expect(objectUrl(bucketAt(endpoint, name), 'j/f', NOVEMBER)).toBe(wanted);
  });
});

describe('the region of a storage', () => {
  it.each([
    ['s3.us-west-2.amazonaws.com', 'us-west-2'],
    ['maps.s3.us-west-2.amazonaws.com', 'us-west-2'],
    ['maps.s3.dualstack.eu-central-1.amazonaws.com', 'eu-central-1'],
    ['s3.us-west-004.backblazeb2.com', 'us-west-004'],
    ['s3.fr-par.scw.cloud', 'fr-par'],
    ['maps.nyc3.digitaloceanspaces.com', 'nyc3'],
    ['nyc3.digitaloceanspaces.com', 'nyc3'],
    ['s3.amazonaws.com', 'us-east-1'],
    ['maps.s3.amazonaws.com', 'us-east-1'],
    ['account.r2.cloudflarestorage.com', 'us-east-1'],
    ['minio', 'us-east-1'],
    ['127.0.0.1', 'us-east-1'],
  ])('at %s is %s', (host, region) => {
    expect(regionOf(host)).toBe(region);
  });
});

describe('the address of a storage', () => {
  it.each([
    ['https://s3.example.com', 'https://s3.example.com'],
    ['https://S3.example.com:443/', 'https://s3.example.com'],
    ['http://minio:9000/a/b//', 'http://minio:9000/a/b'],
  ])('%s is %s', (given, endpoint) => {
    expect(readEndpoint(new URL(given))).toEqual({ endpoint });
  });

  it.each(['https://h.com/?a=1', 'https://h.com/#a', 'https://h.com/a%20b', 'https://h.com/a(b)'])(
    'is not %s',
    (given) => {
      expect(readEndpoint(new URL(given))).toEqual({ problem: expect.any(String) });
    },
  );
});
