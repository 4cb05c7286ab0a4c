import { z } from 'zod';
import { LotusError } from '../errors.ts';
import type { AllowList } from '../net/allow.ts';
import { checkPutUrl } from '../net/put.ts';
import { Secret } from '../secret.ts';
import { type Bucket, readEndpoint, regionOf } from './bucket.ts';

/** The URL comes back in the answer for each file. */
const MAX_ENDPOINT = 1000;

/** No wider than headers and URLs bear them. */
const credential = z
  .string()
  .regex(/^[\x21-\x7e]{1,500}$/, 'must be 1 to 500 signs without blanks');

/** What RunPod hands on with a job, beside its input; what more there is in it is left alone. */
const s3ConfigSchema = z.object({
  accessId: credential,
  accessSecret: credential,
  bucketName: z
    .string()
    .regex(/^[A-Za-z0-9][\w.-]{0,254}$/, 'must be the name of a bucket, letters, digits and . _ -'),
  endpointUrl: z.string().max(MAX_ENDPOINT, `must have at most ${MAX_ENDPOINT} characters`),
});

/**
 * The bucket that a job brings. Its storage is a stranger's, and goes by the same rules as an `upload_url`.
 *
 * @returns null where it brings none.
 * @throws LotusError `invalid_input`, naming what is wrong and never a value; `fetch_refused`.
 */
export function readS3Config(value: unknown, allow: AllowList): Bucket | null {
  if (value === undefined || value === null) return null;
  const { data, error } = s3ConfigSchema.safeParse(value);
  if (error)
    throw new LotusError('invalid_input', `Invalid s3Config: ${problemsOf(error, value)}.`);
  const url = checkPutUrl(data.endpointUrl, allow, 's3Config.endpointUrl');
  const read = readEndpoint(url);
  if ('problem' in read) {
    throw new LotusError('invalid_input', `Invalid s3Config: endpointUrl ${read.problem}.`);
  }
  return {
    endpoint: read.endpoint,
    name: data.bucketName,
    region: regionOf(url.hostname),
    accessKeyId: new Secret(data.accessId),
    secretAccessKey: new Secret(data.accessSecret),
    allow,
  };
}

function problemsOf({ issues }: z.ZodError, value: unknown): string {
  const told = issues.map(({ path: [name], message }) => {
    if (name === undefined) return message.replace(/^Invalid input: /, '');
    const isMissing = (value as Record<PropertyKey, unknown>)[name] === undefined;
    return isMissing
      ? `${String(name)} is missing`
      : `${String(name)} ${message.replace(/^Invalid input: /, '')}`;
  });
  return told.join('; ');
}
