/**
 * What a client and its handles share: one connection, the open calls, the subscriptions.
 *
 * Rules: nothing connects until something is asked of it. Subscriptions belong to the session, not to a socket: they are
 * counted by instance, and sent again on every new one, until a kick ends them. An unknown frame is ignored.
 */

import { Calls, type Started } from "./calls.js";
import { Connection, type ConnectionOptions } from "./connection.js";
import { closedError, errorOf, type ZocketError } from "./errors.js";
import { type Frame, takes } from "./frames.js";
import { Listeners, type Off } from "./listeners.js";
import { Subscription } from "./subscription.js";
import type { CallOptions } from "./types.js";

/** A call that waits for the connection and its answer longer than this is rejected with `CallTimeout`. */
const RPC_TIMEOUT_MS = 10_000;

/** Options of a client. */
export interface ClientOptions extends ConnectionOptions {
  /** Time limit of a call, waiting for the connection and for the answer together; by default 10,000 ms. */
  rpcTimeoutMs?: number;
}

/** An actor instance. */
export interface Place {
  actor: string;
  actorId: string;
}

export class Session {
  readonly connection: Connection;
  readonly errorListeners = new Listeners<ZocketError>();
  /** The server's name for the session, while there is a connection. */
  id: string | undefined;
  readonly #calls: Calls;
  readonly #rpcTimeoutMs: number;
  readonly #subscriptions = new Map<string, Subscription>();

  constructor({ rpcTimeoutMs = RPC_TIMEOUT_MS, ...options }: ClientOptions) {
    this.#rpcTimeoutMs = rpcTimeoutMs;
    this.connection = new Connection(options, {
      opened: () => {
        for (const subscription of this.#subscriptions.values()) subscription.renew();
        this.#calls.sendWaiting();
      },
      received: (frame) => this.#receive(frame),
      lost: () => {
        this.id = undefined;
        this.#calls.connectionLost();
      },
      closed: () => {
        this.#subscriptions.clear();
        this.#calls.clientClosed();
      },
      failed: (error) => this.#fail(error),
    });
    this.#calls = new Calls((text) => this.connection.send(text), options.random ?? Math.random);
  }

  /**
   * Makes a call.
   *
   * @throws Disconnected: the client is closed
   * @throws TypeError: an option that there is not
   */
  start(
    place: Place,
    method: string,
    input: unknown,
    { idempotencyKey: given, timeoutMs: limitMs = this.#rpcTimeoutMs, signal, ...unknown }: CallOptions = {},
    onChunk?: (chunk: unknown) => void,
  ): Started {
    const [wrong] = Object.keys(unknown);
    if (wrong !== undefined) throw new TypeError(`no option of a call: ${wrong}`);
    this.#use();
    const idempotencyKey = given === true ? randomKey() : given;
    return this.#calls.start({ ...place, method, input, idempotencyKey }, { limitMs, signal, onChunk });
  }

  /** Begins to listen; the subscription of an instance is made for the first listener and forgotten with the last. */
  subscribe(place: Place, begin: (to: Subscription) => Off): Off {
    this.#use();
    const key = keyOf(place);
    const subscription: Subscription =
      this.#subscriptions.get(key) ??
      new Subscription((type, more) => {
        const present = this.#subscriptions.get(key) ?? subscription;
        if (present === subscription) this.connection.send(JSON.stringify({ type, ...place, ...more }));
      });
    const end = begin(subscription);
    this.#subscriptions.set(key, subscription);
    return () => {
      end();
      if (subscription.empty && this.#subscriptions.get(key) === subscription) this.#subscriptions.delete(key);
    };
  }

  /** The newest state of an instance, if somebody listens to it. */
  snapshot(place: Place): unknown {
    return this.#subscriptions.get(keyOf(place))?.state;
  }

  #use(): void {
    if (this.connection.status === "closed") throw closedError();
    this.connection.connect();
  }

  #receive(frame: Frame): void {
    switch (frame.type) {
      case "welcome":
        this.id = frame.clientId;
        this.connection.resume = frame.resume;
        this.#calls.cancels = takes(frame, "rpc:cancel");
        if (!takes(frame, "auth:refresh")) break;
      // falls through
      case "auth:refreshed":
        this.connection.refreshUntil(frame.expiresAt);
        break;
      case "rpc:result":
      case "rpc:stream":
        this.#calls.receive(frame);
        break;
      case "event":
      case "state:snapshot":
      case "state:patch":
        this.#subscriptions.get(keyOf(frame as Frame & Place))?.receive(frame);
        break;
      case "error":
        if (frame.code === "kicked") this.#subscriptions.delete(keyOf(frame as Frame & Place));
        this.#fail(errorOf(frame, frame.message));
    }
  }

  #fail(error: ZocketError): void {
    if (this.errorListeners.size === 0) console.error("zocket:", error);
    this.errorListeners.notify(error);
  }
}

const keyOf = ({ actor, actorId }: Place): string => `${actor}/${actorId}`; // an actor's name holds no slash

/** 128 random bits. Not `randomUUID`: that is missing on pages without TLS. */
const randomKey = (): string => crypto.getRandomValues(new Uint32Array(4)).join("-");
