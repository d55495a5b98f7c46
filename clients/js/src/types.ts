/**
 * From a description of an app's actors to the types of a client.
 *
 * Rules: a description is an interface such as `zocket gen ts` writes. It names what goes over the wire and needs no
 * import from here. Nothing in this file exists at run time.
 *
 *     export interface Actors { chat: ChatRoom }
 *     export interface ChatRoom {
 *       state: RoomState;
 *       methods: { post(input: { text: string }): Message; all(): Message[] };
 *       events: { posted: Message };
 *       streams: { summarize(input: { words: number }): string };  // the type of one chunk
 *     }
 */

import type { Off } from "./listeners.js";

/** What a description of one actor may have. */
export interface ActorShape {
  state?: unknown;
  methods?: object;
  events?: object;
  streams?: object;
}

/** A description of an app: actor types by their names. */
export type ActorsShape<A> = { [K in keyof A]: ActorShape };

/** Whether nothing is known of a type, because there is no description. */
type IsAny<T> = 0 extends 1 & T ? true : false;

type Part<D, P extends keyof ActorShape> = IsAny<D> extends true ? any : D extends { [K in P]: infer V } ? V : {};

/** Options of one call. */
export interface CallOptions {
  /** Time limit, all retries included, instead of the client's `rpcTimeoutMs`. */
  timeoutMs?: number | undefined;
  /**
   * Names the call over all its retries, 1–128 printable ASCII characters; true makes a random name. Such a call is
   * repeated by itself until its time limit, and takes effect once.
   */
  idempotencyKey?: string | true | undefined;
  /** Frees the call when it is aborted: it rejects with the signal's reason. The server may still run it. */
  signal?: AbortSignal | undefined;
}

/** Options of a stream. Its time limit is that between two chunks. */
export type StreamOptions = Pick<CallOptions, "timeoutMs" | "signal">;

type InputOf<F> = F extends (...input: infer I) => unknown ? (I extends [] ? [input?: undefined] : I) : never;

/** A method of a handle: resolves with what the actor returns. */
export type Method<F> = F extends (...input: any) => infer R
  ? (...args: [...input: InputOf<F>, options?: CallOptions]) => Promise<R>
  : never;

/** A method that streams. */
export interface StreamMethod<F> {
  /** The chunks as they come. The call is made with the first step, and given up when the loop is left. */
  stream(...args: [...input: InputOf<F>, options?: StreamOptions]): F extends (...input: any) => infer C
    ? AsyncGenerator<C, unknown, void>
    : never;
}

/** A state as it is seen; has the shape that React's `useSyncExternalStore` takes. */
export interface StateStore<S> {
  /** The listener is called after every change, first when the snapshot arrives; not on subscribing. */
  subscribe(listener: (state: S) => void): Off;
  /** The newest state; `undefined` before the first snapshot and while nobody subscribes. It is never changed. */
  getSnapshot(): S | undefined;
}

declare const EVENTS: unique symbol;

/** What has a state. */
export interface Stateful<S> {
  readonly state: StateStore<S>;
}

/** What has events. */
export interface Emitting<E> {
  readonly [EVENTS]?: E;
  /** Calls the listener with the payload of every event of this name. */
  on<N extends keyof E & string>(event: N, listener: (payload: E[N]) => void): Off;
}

/** The members that every handle has, beside the methods of its actor. */
export interface HandleMembers<D> extends Stateful<Part<D, "state">>, Emitting<Part<D, "events">> {
  /** For a method whose name is taken: `state`, `on` or `call`. */
  call<M extends keyof Part<D, "methods"> & string>(
    method: M,
    ...args: Method<Part<D, "methods">[M]> extends (...args: infer I) => unknown ? I : never
  ): Method<Part<D, "methods">[M]> extends (...args: any) => infer R ? R : never;
}

type Free<T, Members> = Exclude<keyof T, keyof Members>;

type AnyFunction = (input?: any) => any;

type Calls<D> = IsAny<D> extends true
  ? { readonly [name: string]: Method<AnyFunction> & StreamMethod<AnyFunction> }
  : {
      readonly [M in Free<Part<D, "methods">, HandleMembers<D>>]: Method<Part<D, "methods">[M]>;
    } & {
      readonly [S in Free<Part<D, "streams">, HandleMembers<D>>]: StreamMethod<Part<D, "streams">[S]>;
    };

/** One actor instance as a client has it: costs nothing, and holds nothing until it is used. */
export type Handle<D = any> = HandleMembers<D> & Calls<D>;
