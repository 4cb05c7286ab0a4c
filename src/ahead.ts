/** The items until nobody wants any more of them. */
export function* untilAborted<Item>(items: Iterable<Item>, signal: AbortSignal): Generator<Item> {
  for (const item of items) {
    if (signal.aborted) return;
    yield item;
  }
}

/** Work on items in their order, `ahead` of them beside the one whose result is awaited. */
export async function* mapAhead<Item, Result>(
  items: Iterable<Item>,
  ahead: number,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  const started: Promise<Result>[] = [];
  for (const item of items) {
    started.push(work(item));
    if (started.length > ahead) yield started.shift() as Promise<Result>;
  }
  yield* started;
}
