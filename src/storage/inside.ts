import { realpath } from 'node:fs/promises';
import path from 'node:path';

/**
 * Whether a file, all links followed, lies in a folder. What is not there, or is a link to nothing, does not.
 *
 * @param dir where links may lead; it may be a link itself, since somebody chose it.
 */
export async function liesIn(dir: string, file: string): Promise<boolean> {
  const [root, real] = await Promise.all([dir, file].map((one) => realpath(one).catch(() => null)));
  if (!root || !real) return false;
  const way = path.relative(root, real);
  return way !== '..' && !way.startsWith(`..${path.sep}`) && !path.isAbsolute(way);
}
