import path from 'node:path';
import type { FetchPolicy } from '../net/fetch.ts';
import { checkPutUrl } from '../net/put.ts';
import type { Bucket } from '../upload/bucket.ts';
import { type Uploaded, uploadToBucket, uploadToUrl } from '../upload/files.ts';
import type { UploadContext } from '../upload/retry.ts';
import { readS3Config } from '../upload/s3-config.ts';
import { FORMATS, type OutputFile } from './formats.ts';
import type { OutputFormat } from './schema.ts';

/** What uploading a job's files needs. */
export interface UploadsContext extends Pick<UploadContext, 'network' | 'signal'> {
  /** Whose addresses a job may name. */
  readonly fetch: FetchPolicy;
  readonly uploads: Pick<UploadContext, 'timeoutMs' | 'pace'> & {
    /** The operator's; a job's own comes before it. */
    readonly bucket: Bucket | null;
  };
  /** How many bytes of JSON the answer may have. */
  readonly maxAnswerBytes: number;
}

/** Where the files of a job go beside the volume. */
export interface UploadPlan {
  /** Takes the picture. */
  readonly uploadUrl: string | null;
  /** Takes all that is not in the answer. */
  readonly bucket: Bucket | null;
}

/** Where files are now, and why others are not. */
export interface Uploads {
  readonly urls: ReadonlyMap<OutputFormat, string>;
  readonly warnings: readonly string[];
}

/**
 * See where a job wants its files to go, before anything is computed for it.
 *
 * @param wanted as they were sent.
 * @returns null when nothing is to be uploaded.
 * @throws LotusError `invalid_input`, `fetch_refused`.
 */
export function planUploads(
  wanted: { uploadUrl: string | null; s3Config: unknown },
  { fetch, uploads }: Pick<UploadsContext, 'fetch' | 'uploads'>,
): UploadPlan | null {
  const { uploadUrl, s3Config } = wanted;
  if (uploadUrl !== null) checkPutUrl(uploadUrl, fetch.allow, 'upload_url');
  const bucket = readS3Config(s3Config, fetch.allow) ?? uploads.bucket;
  return uploadUrl === null && bucket === null ? null : { uploadUrl, bucket };
}

/** Of a job whose files stay where they are. */
export const NOT_UPLOADED: Uploads = { urls: new Map(), warnings: [] };

/**
 * Upload a job's files: the picture to its `upload_url`, and all that is not in the answer to the bucket. Never rejects: what
 * cannot be uploaded is on the volume, and a warning says why.
 *
 * @param folder the job's, in the bucket.
 */
export async function uploadFiles(
  files: readonly OutputFile[],
  folder: string,
  plan: UploadPlan,
  context: UploadsContext,
): Promise<Uploads> {
  const outcomes = await Promise.all(files.map((file) => uploadFile(file, folder, plan, context)));
  return {
    urls: new Map(outcomes.flatMap(({ format, url }) => (url === null ? [] : [[format, url]]))),
    warnings: outcomes.flatMap(({ warnings }) => warnings),
  };
}

async function uploadFile(
  file: OutputFile,
  folder: string,
  plan: UploadPlan,
  context: UploadsContext,
): Promise<{ format: OutputFormat; url: string | null; warnings: string[] }> {
  const { format } = file;
  const warnings: string[] = [];
  for (const upload of waysOf(file, folder, plan, context)) {
    const uploaded = await upload();
    if ('url' in uploaded) return { format, url: uploaded.url, warnings };
    warnings.push(`${format} is not uploaded: ${uploaded.problem}.`);
  }
  return { format, url: null, warnings };
}

/** Where a file may go, one after the other until it is there. */
function waysOf(
  { format, path: file, bytes }: OutputFile,
  folder: string,
  { uploadUrl, bucket }: UploadPlan,
  { fetch, uploads, network, signal, maxAnswerBytes }: UploadsContext,
): (() => Promise<Uploaded>)[] {
  const { contentType } = FORMATS[format];
  const given = { name: path.basename(file), bytes, contentType };
  const context = { ...uploads, network, signal };
  const isPicture = format === 'png';
  const ways: (() => Promise<Uploaded>)[] = [];
  if (isPicture && uploadUrl !== null) {
    const destination = { url: uploadUrl, allow: fetch.allow };
    ways.push(() => uploadToUrl(given, destination, context));
  }
  const isInAnswer = isPicture && fitsInAnswer(bytes, maxAnswerBytes);
  if (bucket !== null && !isInAnswer) {
    ways.push(() => uploadToBucket(given, folder, bucket, context));
  }
  return ways;
}

/** What an answer has beside its picture: facts, warnings, and for each format a URL of up to some 2 KiB. */
const BESIDE_PICTURE_BYTES = 32 * 1024;

/** Whether a picture is sure to fit, by what it has in base64; what it is in the end, `fitAnswer` says. */
function fitsInAnswer({ length }: Buffer, maxAnswerBytes: number): boolean {
  return Math.ceil(length / 3) * 4 + BESIDE_PICTURE_BYTES <= maxAnswerBytes;
}
