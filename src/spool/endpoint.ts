import type { Platform } from '../runpod/platform.ts';
import { safeFileName } from '../storage/names.ts';

/**
 * The name of an endpoint's folder in the spool. Several may share a volume, and a result must go nowhere but where its
 * job came from: so it is named by where results go, which has the endpoint's id in it. Not by the query, which may be
 * a signature, nor by a worker's id.
 */
export function endpointName({ outputUrl }: Pick<Platform, 'outputUrl'>): string {
  const { origin, pathname } = new URL(outputUrl);
  return safeFileName(`${origin}${pathname}`);
}
