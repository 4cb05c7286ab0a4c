import { LotusError } from '../errors.ts';
import { LineFramer } from './framing.ts';
import {
  type ErrorReply,
  encodeRequest,
  type Hello,
  type Pong,
  ProtocolError,
  parseReply,
  type Ready,
  type Reply,
  type Request,
  type Result,
} from './protocol.ts';

/** How a stage of loading or of a run is reported: its name and the fraction already behind it. */
export type OnStage = (stage: string, fraction: number) => void;

/** What ends the wait for each request that is answered. */
export interface Answers {
  load: Ready;
  run: Result;
  ping: Pong;
}
export type Asked = keyof Answers;

const ANSWERS = { load: 'ready', run: 'result', ping: 'pong' } as const;

type Question<T extends Asked = Asked> = Extract<Request, { type: T }>;

/** A question that waits for its answer. */
export interface Pending<T extends Asked> {
  readonly id: string;
  /** Rejects with the LotusError that came in its place, or with why the conversation has ended. */
  readonly answer: Promise<Answers[T]>;
  /** Nobody waits any longer: what is told instead of the `cancelled` that may come back. */
  giveUp(error: LotusError): void;
}

interface Waiting {
  readonly asked: Asked;
  readonly settle: PromiseWithResolvers<Reply>;
  readonly onStage: OnStage | undefined;
  givenUp?: LotusError;
}

export interface Listener {
  onHello(hello: Hello): void;
  /** A question has its last reply. */
  onAnswered(asked: Asked): void;
  /** The process says of itself that it is of no use any more. */
  onUnhealthy(error: LotusError): void;
  /** It said what is no message, or what nobody asked for: the two sides no longer agree. */
  onBroken(how: string): void;
}

/** Who asked what, and which reply is whose: the one side of the protocol that is ours. */
export class Conversation {
  readonly #write: (text: string) => void;
  readonly #listener: Listener;
  readonly #framer = new LineFramer();
  readonly #waiting = new Map<string, Waiting>();
  #asked = 0;
  #greeted = false;
  #isOver = false;

  constructor(write: (text: string) => void, listener: Listener) {
    this.#write = write;
    this.#listener = listener;
  }

  /** The beginning of a line that it never ended. */
  get halfSaid(): string {
    return this.#framer.rest().subarray(0, 200).toString('utf8');
  }

  /** Ask something. */
  ask<T extends Asked>(question: Omit<Question<T>, 'id'>, onStage?: OnStage): Pending<T> {
    this.#asked += 1;
    const id = String(this.#asked);
    const waiting: Waiting = {
      asked: question.type as T,
      settle: Promise.withResolvers(),
      onStage,
    };
    this.#waiting.set(id, waiting);
    this.tell({ ...question, id } as Question<T>);
    return {
      id,
      answer: waiting.settle.promise.finally(() => this.#waiting.delete(id)) as Promise<Answers[T]>,
      giveUp: (error) => {
        waiting.givenUp ??= error;
      },
    };
  }

  /** Say something that has no answer. */
  tell(request: Request): void {
    this.#write(encodeRequest(request));
  }

  /** Take what the process has written. */
  hear(chunk: Buffer): void {
    if (this.#isOver) return;
    try {
      for (const line of this.#framer.push(chunk)) this.#receive(parseReply(line));
    } catch (error) {
      if (!(error instanceof ProtocolError || error instanceof RangeError)) throw error;
      this.#listener.onBroken(error.message);
    }
  }

  /** Nothing is heard any more, and whoever waits is told why. */
  end(error: Error): void {
    this.#isOver = true;
    for (const { settle, givenUp } of this.#waiting.values()) settle.reject(givenUp ?? error);
  }

  #receive(reply: Reply): void {
    if (reply.type === 'hello') {
      if (this.#greeted) throw new ProtocolError('a second hello');
      this.#greeted = true;
      this.#listener.onHello(reply);
    } else if (reply.type === 'error' && reply.id === null) {
      throw new ProtocolError(`it cannot read what we said: ${reply.message}`);
    } else {
      this.#onReply(reply);
    }
  }

  #onReply(reply: Exclude<Reply, Hello>): void {
    const waiting = this.#waiting.get(reply.id ?? '');
    if (!waiting) throw new ProtocolError(`a reply to nothing we asked: ${reply.type} ${reply.id}`);
    if (reply.type === 'loading' || reply.type === 'progress') {
      waiting.onStage?.(reply.stage, reply.fraction);
      return;
    }
    this.#listener.onAnswered(waiting.asked);
    const wanted = ANSWERS[waiting.asked];
    if (reply.type === 'error') this.#onError(reply, waiting);
    else if (reply.type === wanted) waiting.settle.resolve(reply);
    else throw new ProtocolError(`${reply.type} instead of ${wanted}`);
  }

  #onError(reply: ErrorReply, { settle, givenUp }: Waiting): void {
    const error = (reply.code === 'cancelled' && givenUp) || asJobError(reply);
    settle.reject(error);
    if (!reply.healthy) this.#listener.onUnhealthy(error);
  }
}

/** What a caller gets to see of an error that Python sent. */
function asJobError(reply: ErrorReply): LotusError {
  switch (reply.code) {
    case 'shape_not_admitted':
    case 'out_of_memory':
    case 'non_finite_map':
    case 'cancelled':
      return new LotusError(reply.code, reply.message);
    case 'model_not_found':
    case 'incompatible_model':
    case 'incompatible_upstream':
      return new LotusError('model_unavailable', reply.message);
    case 'bad_request': // ours: we asked for it
    case 'internal':
      return new LotusError('internal', 'The model process failed on this; the log says more.', {
        cause: new Error(reply.message),
      });
  }
}
