/** One line of the page that says why it does not work here. */
export interface Finding {
  readonly name: string;
  /** ok: fine. note: worth knowing. fault: a job would fail. */
  readonly state: 'ok' | 'note' | 'fault';
  readonly what: string;
  /** What to do, where there is something to do. */
  readonly advice?: string;
}

export function ok(name: string, what: string): Finding {
  return { name, state: 'ok', what };
}

export function note(name: string, what: string, advice?: string): Finding {
  return { name, state: 'note', what, ...(advice !== undefined && { advice }) };
}

export function fault(name: string, what: string, advice?: string): Finding {
  return { name, state: 'fault', what, ...(advice !== undefined && { advice }) };
}
