import type { AllowList } from '../net/allow.ts';
import { type Bucket, objectUrl } from './bucket.ts';
import { putUntilThere, type UploadContext } from './retry.ts';
import { presignGet, signPut } from './sign.ts';

/** A file to upload. */
export interface UploadFile {
  /** Of letters, digits and . _ ~ - alone. */
  readonly name: string;
  readonly bytes: Buffer;
  readonly contentType: string;
}

/** What came of it: where it is, or why it is not there. */
export type Uploaded = { readonly url: string } | { readonly problem: string };

/**
 * Put a file to a URL that somebody has signed. Never rejects.
 *
 * @returns the URL without its query, which has the signature.
 */
export async function uploadToUrl(
  { bytes, contentType }: UploadFile,
  { url, allow }: { url: string; allow: AllowList },
  context: UploadContext,
): Promise<Uploaded> {
  const put = { url, bytes, headers: { 'content-type': contentType } };
  const problem = await putUntilThere(() => put, { what: 'upload_url', allow }, context);
  if (problem !== null) return { problem };
  const { origin, pathname } = new URL(url);
  return { url: `${origin}${pathname}` };
}

/**
 * Put a file into a bucket. Never rejects.
 *
 * @param folder in the bucket: the job's.
 * @returns a URL by which anybody can get it, for seven days.
 */
export async function uploadToBucket(
  file: UploadFile,
  folder: string,
  bucket: Bucket,
  context: UploadContext,
): Promise<Uploaded> {
  const url = objectUrl(bucket, `${folder}/${file.name}`, new Date());
  const destination = { what: 'the bucket at', allow: bucket.allow };
  const problem = await putUntilThere(() => signPut(bucket, url, file), destination, context);
  return problem === null ? { url: await presignGet(bucket, url) } : { problem };
}
