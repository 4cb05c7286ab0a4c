import { type FetchPolicy, fetchImage } from '../net/fetch.ts';
import type { Network } from '../net/network.ts';
import { decodeBase64Image } from './base64.ts';
import type { ImageSource } from './schema.ts';

/** What getting a job's image needs. */
export interface AcquireContext {
  /** What an `image_url` may name. */
  readonly fetch: FetchPolicy;
  /** Instead of the internet; for tests. */
  readonly network?: Network | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Get the bytes of a job's image; what they are is for the decoder to say.
 *
 * @throws LotusError `no_image`, `invalid_image`, `fetch_refused`, `fetch_failed` or `cancelled`.
 */
export async function acquireImage(
  image: ImageSource,
  { fetch, network, signal }: AcquireContext,
): Promise<Buffer> {
  if ('base64' in image) return decodeBase64Image(image.base64);
  return await fetchImage(image.url, fetch, { network, signal });
}
