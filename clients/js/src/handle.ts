/** Handles: one actor instance as a program has it. */

import type { Off } from "./listeners.js";
import { makeNames } from "./names.js";
import type { Place, Session } from "./session.js";
import { chunksOf } from "./streams.js";
import type { CallOptions, StateStore } from "./types.js";

/** What every `Handle` is at run time: these members, and every other name is a method of the actor. */
export class HandleCore {
  readonly #session: Session;
  readonly #place: Place;
  readonly state: StateStore<any>;

  static {
    makeNames(HandleCore, (handle, name) => handle.#method(name));
  }

  constructor(session: Session, actor: string, actorId: string) {
    const place = { actor, actorId };
    this.#session = session;
    this.#place = place;
    this.state = {
      subscribe: (listener) => session.subscribe(place, (to) => to.onState(listener)),
      getSnapshot: () => session.snapshot(place),
    };
  }

  on(event: string, listener: (payload: any) => void): Off {
    return this.#session.subscribe(this.#place, (to) => to.onEvent(event, listener));
  }

  async call(method: string, ...args: unknown[]): Promise<any> {
    return this.#session.start(this.#place, method, ...this.#checked(method, args)).answer;
  }

  toString(): string {
    return `${this.#place.actor}/${this.#place.actorId}`;
  }

  #method(name: string): object {
    const stream = (...args: unknown[]): AsyncGenerator => {
      const [input, options] = this.#checked(name, args);
      if (options.idempotencyKey !== undefined) throw new TypeError(`${this}.${name}: a stream is not repeated`);
      return chunksOf((onChunk) => this.#session.start(this.#place, name, input, options, onChunk), options.signal);
    };
    return Object.assign((...args: unknown[]) => this.call(name, ...args), { stream });
  }

  #checked(method: string, args: unknown[]): [input: unknown, options: CallOptions] {
    const [input, options = {}] = args;
    if (args.length > 2 || options === null || typeof options !== "object") {
      throw new TypeError(`${this}.${method}: give the input as one object, and options as a second one`);
    }
    return [input, options];
  }
}
