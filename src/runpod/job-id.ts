/**
 * Whether results can be posted for an id: half a surrogate pair cannot be written into a URL, and dots alone are a way
 * up in one.
 */
export function isUsableId(id: string): boolean {
  return !['', '.', '..'].includes(id) && id.isWellFormed();
}
