import type { AllowList } from '../net/allow.ts';
import type { Secret } from '../secret.ts';

/** A bucket of an S3-compatible storage, and who may put into it. */
export interface Bucket {
  /** Where the storage is: scheme, host and, for some, a path; without a slash at the end. */
  readonly endpoint: string;
  /** Null: as RunPod's own SDK names it, by the month. */
  readonly name: string | null;
  readonly region: string;
  readonly accessKeyId: Secret;
  readonly secretAccessKey: Secret;
  /** Which hosts may be connected to for it, beside the public internet. */
  readonly allow: AllowList;
}

/** What S3 takes a request to be for that names none, and most other storages whatever it names. */
const DEFAULT_REGION = 'us-east-1';

/** What no storage needs escaped, and no signer spells in two ways. */
const PLAIN_PATH = /^[\w.~/-]*$/;

/**
 * The address of a storage in its one spelling, or what is wrong with it, to go on from its name.
 *
 * @param url as `URL` reads it: without user name and password, by whoever has looked at it before.
 */
export function readEndpoint(url: URL): { endpoint: string } | { problem: string } {
  if (url.search !== '' || url.hash !== '') {
    return { problem: 'has something behind its path: give it without' };
  }
  if (!PLAIN_PATH.test(url.pathname)) {
    return { problem: 'has a path of other signs than letters, digits and . _ ~ - /' };
  }
  return { endpoint: `${url.origin}${url.pathname}`.replace(/\/+$/, '') };
}

/**
 * The region that a storage's host names: what is behind `s3` (AWS, Backblaze, Wasabi, Scaleway), or before
 * DigitalOcean's own name, as RunPod's SDK finds it; else S3's first.
 */
export function regionOf(host: string): string {
  const labels = host.split('.').filter((label) => label !== 'dualstack');
  const spaces = labels.indexOf('digitaloceanspaces');
  if (spaces > 0) return labels[spaces - 1] ?? DEFAULT_REGION;
  const s3 = labels.indexOf('s3');
  // A domain has two labels: without one before them there is no region.
  const isNamed = s3 >= 0 && labels.length > s3 + 3;
  return (isNamed ? labels[s3 + 1] : undefined) ?? DEFAULT_REGION;
}

/**
 * Where an object is, without a signature. A bucket that the endpoint names already, at the begin of its host or at the end
 * of its path, is not named twice.
 *
 * @param key of letters, digits and . _ ~ - / alone.
 * @param now for a bucket without a name: the month's, `11-26`, which in an endpoint that names the bucket is a folder.
 */
export function objectUrl({ endpoint, name }: Bucket, key: string, now: Date): string {
  const bucket = name ?? monthOf(now);
  const { hostname, pathname } = new URL(endpoint);
  const isNamed = hostname.startsWith(`${bucket}.`) || pathname.endsWith(`/${bucket}`);
  return isNamed ? `${endpoint}/${key}` : `${endpoint}/${bucket}/${key}`;
}

function monthOf(now: Date): string {
  const [year = '', month = ''] = now.toISOString().split('-');
  return `${month}-${year.slice(-2)}`;
}
