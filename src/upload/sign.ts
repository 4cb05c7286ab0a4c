import { createHash, createHmac, type Hash, type Hmac, webcrypto } from 'node:crypto';
import type { SignatureV4 } from '@smithy/signature-v4';
import type { Put } from '../net/put.ts';
import type { Bucket } from './bucket.ts';

/** As long as S3 lets a signature be good, and as long as RunPod's own SDK asks for. */
const WEEK_S = 7 * 86_400;

/** In S3's own spelling, which the parameters of a URL have as well. */
const DIGEST_HEADER = 'X-Amz-Content-Sha256';

/**
 * A request that puts an object, signed by the bucket's key with the digest of what it puts, which the storage checks.
 *
 * @param url the object's, as `objectUrl` gives it.
 */
export async function signPut(
  bucket: Bucket,
  url: string,
  { bytes, contentType }: { bytes: Buffer; contentType: string },
  now = new Date(),
): Promise<Put> {
  const signer = await signerOf(bucket);
  const request = requestFor('PUT', url, {
    'content-type': contentType,
    [DIGEST_HEADER]: await digestOf(bytes),
  });
  const { headers } = await signer.sign(request, { signingDate: now });
  return { url, bytes, headers };
}

/** A URL by which anybody can get an object, for seven days. The id of the bucket's key is in it, and not the key. */
export async function presignGet(bucket: Bucket, url: string, now = new Date()): Promise<string> {
  const signer = await signerOf(bucket);
  const request = requestFor('GET', url, { [DIGEST_HEADER]: 'UNSIGNED-PAYLOAD' });
  const { query = {} } = await signer.presign(request, { signingDate: now, expiresIn: WEEK_S });
  const parameters = Object.entries(query).map(([name, value]) => `${name}=${escaped(value)}`);
  return `${url}?${parameters.join('&')}`;
}

/** Loaded when something is signed, and not before: most workers never upload. */
async function signerOf({ region, accessKeyId, secretAccessKey }: Bucket): Promise<SignatureV4> {
  const { SignatureV4 } = await import('@smithy/signature-v4');
  return new SignatureV4({
    service: 's3',
    region,
    credentials: {
      accessKeyId: accessKeyId.reveal(),
      secretAccessKey: secretAccessKey.reveal(),
    },
    sha256: Sha256,
    uriEscapePath: false, // S3 alone signs paths as they are sent
  });
}

function requestFor(method: 'GET' | 'PUT', url: string, headers: Record<string, string>) {
  const { protocol, hostname, host, pathname } = new URL(url);
  return { method, protocol, hostname, path: pathname, headers: { host, ...headers } };
}

/** On another thread: of the largest maps it takes a tenth of a second. */
async function digestOf(bytes: Buffer): Promise<string> {
  return Buffer.from(await webcrypto.subtle.digest('SHA-256', bytes)).toString('hex');
}

/** As RFC 3986 has it, which leaves less as it is than `encodeURIComponent` does. */
function escaped(value: string | string[] | null): string {
  return encodeURIComponent(String(value)).replaceAll(
    /[!'()*]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Node's SHA-256, and its HMAC where there is a key, as the signer wants them. */
class Sha256 {
  readonly #hash: Hash | Hmac;

  constructor(key?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash = key === undefined ? createHash('sha256') : createHmac('sha256', viewOf(key));
  }

  update(data: string | ArrayBuffer | ArrayBufferView): void {
    this.#hash.update(viewOf(data));
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
}

function viewOf(data: string | ArrayBuffer | ArrayBufferView): string | NodeJS.ArrayBufferView {
  return data instanceof ArrayBuffer ? new Uint8Array(data) : (data as NodeJS.ArrayBufferView);
}
