import { realpath } from 'node:fs/promises';
import path from 'node:path';

/** Whether a path is a folder, or one below it; no link is looked at. */
export function isWithin(dir: string, file: string): boolean {
  const way = path.relative(dir, file);
  return way !== '..' && !way.startsWith(`..${path.sep}`) && !path.isAbsolute(way);
}

/**
 * Whether a file, all links followed, lies in a folder. What is not there, or is a link to nothing, does not.
 *
 * @param dir where links may lead; it may be a link itself, since somebody chose it.
 */
export async function liesIn(dir: string, file: string): Promise<boolean> {
  const [root, real] = await Promise.all([dir, file].map((one) => realpath(one).catch(() => null)));
  return Boolean(root && real && isWithin(root, real));
}
