import { inspect } from 'node:util';

const HIDDEN = '[hidden]';

/**
 * A text that is shown nowhere by accident: as JSON, in a template, in a log and in an inspection it is `[hidden]`.
 * Whoever needs it says so, by `reveal()`.
 */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [inspect.custom](): string {
    return HIDDEN;
  }
}
