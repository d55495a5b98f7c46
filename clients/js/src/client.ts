/**
 * Zocket in browsers and Node: call actors, hear their events, watch their state.
 *
 *     const client = createClient<Actors>({ url: "wss://example.com/" });
 *     const room = client.chat("general");
 *     room.state.subscribe((state) => render(state));
 *     room.on("posted", (message) => notify(message));
 *     await room.post({ text: "hello" });
 *
 * Rules: nothing connects until something is asked of the client. `calls.ts`, `subscription.ts` and `connection.ts` have
 * the rules of calls, of events and states, and of reconnecting.
 */

import type { Status } from "./connection.js";
import type { ZocketError } from "./errors.js";
import { HandleCore } from "./handle.js";
import type { Off } from "./listeners.js";
import { makeNames } from "./names.js";
import { type ClientOptions, Session } from "./session.js";
import type { ActorsShape, Handle } from "./types.js";

/** The members that every client has, beside its actor types. */
export interface ClientMembers<A> {
  readonly status: Status;
  /** The id by which actors know this connection (`self.session.id`); `undefined` until the server has told it. */
  readonly id: string | undefined;
  /** Calls the listener on every change. */
  onStatus(listener: (status: Status) => void): Off;
  /** For failures that answer no call, such as a refused subscription; without a listener they go to the console. */
  onError(listener: (error: ZocketError) => void): Off;
  /** `client.actor("chat", "general")` is `client.chat("general")`, for any name. */
  actor<K extends keyof A & string>(type: K, id: string): Handle<A[K]>;
  /** Connects at once, instead of with the first call, subscription or status listener. */
  connect(): void;
  /** Ends the connection for good: open calls are rejected with `closed`, subscriptions are forgotten. */
  close(): void;
}

/** A client of an app that has these actors. */
export type Client<A = any> = ClientMembers<A> &
  { readonly [K in Exclude<keyof A, keyof ClientMembers<A>>]: (id: string) => Handle<A[K]> };

class ClientCore {
  readonly #session: Session;

  static {
    makeNames(ClientCore, (client, type) => (id: string) => client.actor(type, id));
  }

  constructor(options: ClientOptions) {
    this.#session = new Session(options);
  }

  get status(): Status {
    return this.#session.connection.status;
  }

  get id(): string | undefined {
    return this.#session.id;
  }

  onStatus(listener: (status: Status) => void): Off {
    const off = this.#session.connection.onStatus(listener);
    this.connect();
    return off;
  }

  onError(listener: (error: ZocketError) => void): Off {
    return this.#session.errorListeners.add(listener);
  }

  actor(type: string, id: string): HandleCore {
    return new HandleCore(this.#session, type, String(id));
  }

  connect(): void {
    this.#session.connection.connect();
  }

  close(): void {
    this.#session.connection.close();
  }
}

/**
 * A client that connects with its first use, and stays connected until `close()`.
 *
 * `Actors` describes the app, as `zocket gen ts` writes it; without one everything is `any`.
 */
export function createClient<A extends ActorsShape<A> = any>(options: ClientOptions): Client<A> {
  return new ClientCore(options) as unknown as Client<A>;
}

/** `createClient({ url, ...options })` that connects at once. */
export function connect<A extends ActorsShape<A> = any>(
  url: string | URL,
  options: Omit<ClientOptions, "url"> = {},
): Client<A> {
  const client = createClient<A>({ url, ...options });
  client.connect();
  return client;
}
