/**
 * One socket after another to the same server.
 *
 * Rules: the first is opened by `connect`, and every lost one is followed by another, after a random delay that grows,
 * until `close`, or until an actor has one closed. The token is asked for before every attempt, and while a socket is
 * open, at half of the time that the server gives it and at half of the rest until the server has taken another one. A
 * socket that was given up is not heard any more.
 */

import { ZocketError } from "./errors.js";
import { type Frame, frameOf } from "./frames.js";
import { Listeners } from "./listeners.js";

/** Delay before the first reconnect, at least; it doubles with every attempt that fails. */
const BACKOFF_MIN_MS = 250;
/** Delay before a reconnect, at most: a server that comes back is found within two seconds. */
const BACKOFF_MAX_MS = 2_000;
/** A socket that is still not open after this long is given up; the next attempt follows. */
const CONNECT_TIMEOUT_MS = 10_000;
/** With less left of a token's time the server is given no other one: the next connection begins with it. */
const REFRESH_LAST_MS = 5_000;
/** The longest wait that `setTimeout` is sure to know, about 12 days. */
const TIMER_MAX_MS = 2 ** 30;
/** Close code of a server by whose clock the token has expired. */
const TOKEN_EXPIRED = 4401;
/** Close code of a socket that an actor had closed. */
const KICKED = 4403;

/** `connecting` until a first connection is open, `reconnecting` while a lost one is replaced, `closed` for good. */
export type Status = "connecting" | "open" | "reconnecting" | "closed";

/** How a client connects. */
export interface ConnectionOptions {
  /** `ws(s)://host[:port]/`; `http(s)` is taken as `ws(s)`, a path is relative to the page. */
  url: string | URL;
  /** Sent as `?token=`. A function, plain or async, is asked for a fresh one before every attempt and before it expires. */
  token?: string | (() => string | Promise<string>) | undefined;
  /** What the client says of itself, `self.session.metadata` in actors; at most 2,048 bytes of JSON. */
  metadata?: Record<string, unknown> | undefined;
  /** Time limit of one attempt to connect, by default 10,000 ms. */
  connectTimeoutMs?: number;
  /** False: the first lost socket closes the client. */
  reconnect?: boolean;
  /** The class to use where the platform has none. */
  WebSocket?: new (url: string) => WebSocketLike;
  /** Source of the jitter, in [0, 1). */
  random?: () => number;
}

/** What a client needs of a WebSocket: the browser's, Node's, and that of the package `ws` will do. */
export interface WebSocketLike {
  addEventListener(type: "open" | "message" | "close" | "error", listener: (event: any) => void): void;
  send(text: string): void;
  close(code?: number): void;
}

/** Is told what happens; each before the status says it. */
export interface ConnectionOwner {
  opened(): void;
  received(frame: Frame): void;
  lost(): void;
  closed(): void;
  failed(error: ZocketError): void;
}

export class Connection {
  /** Lets the next connection go on with the session, for actors that wait for it. */
  resume: string | undefined;
  readonly #options: ConnectionOptions;
  readonly #owner: ConnectionOwner;
  readonly #listeners = new Listeners<Status>();
  #status: Status = "connecting";
  #url: URL | undefined;
  #socket: WebSocketLike | undefined;
  /** Failed attempts since the last connection that held. */
  #failures = 0;
  #openedAtMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ConnectionOptions, owner: ConnectionOwner) {
    this.#options = options;
    this.#owner = owner;
  }

  get status(): Status {
    return this.#status;
  }

  onStatus(listener: (status: Status) => void): () => boolean {
    return this.#listeners.add(listener);
  }

  /**
   * Begins to connect, unless that has begun.
   *
   * @throws TypeError: the address is none of a WebSocket server, or there is no WebSocket here
   */
  connect(): void {
    if (this.#url !== undefined || this.#status === "closed") return;
    const url = new URL(this.#options.url, globalThis.location?.href);
    url.protocol = url.protocol.replace("http", "ws");
    if (!/^wss?:$/.test(url.protocol)) throw new TypeError(`not the address of a WebSocket server: ${url}`);
    if (this.#socketClass() === undefined) throw new TypeError("no WebSocket here: give a class as the option WebSocket");
    this.#url = url;
    void this.#open();
  }

  /** False if there is no open connection; the text is dropped then. */
  send(text: string): boolean {
    if (this.#status !== "open") return false;
    this.#socket?.send(text);
    return true;
  }

  /** The server takes other tokens, and the present one's time ends then, in milliseconds since the epoch, if ever. */
  refreshUntil(endMs: number): void {
    clearTimeout(this.#timer);
    const leftMs = endMs - Date.now();
    const { token } = this.#options;
    if (typeof token !== "function" || !(leftMs > REFRESH_LAST_MS)) return;
    this.#timer = setTimeout(async () => {
      this.refreshUntil(endMs);
      try {
        this.send(JSON.stringify({ type: "auth:refresh", token: await token() }));
      } catch (error) {
        console.warn("zocket: no token, trying again", error);
      }
    }, Math.min(leftMs / 2, TIMER_MAX_MS));
  }

  close(): void {
    if (this.#status === "closed") return;
    this.#drop(1000);
    this.#status = "closed";
    this.#owner.closed();
    this.#listeners.notify("closed");
  }

  #socketClass(): ConnectionOptions["WebSocket"] {
    return this.#options.WebSocket ?? globalThis.WebSocket;
  }

  async #open(): Promise<void> {
    const url = new URL(this.#url as URL);
    const { token, metadata, connectTimeoutMs = CONNECT_TIMEOUT_MS } = this.#options;
    if (this.resume !== undefined) url.searchParams.set("resume", this.resume);
    if (metadata !== undefined) url.searchParams.set("metadata", JSON.stringify(metadata));
    let socket: WebSocketLike;
    try {
      if (token !== undefined) url.searchParams.set("token", typeof token === "function" ? await token() : token);
      if (this.#status === "closed") return;
      socket = new (this.#socketClass() as new (url: string) => WebSocketLike)(url.href);
    } catch (error) {
      console.warn("zocket: no token or no socket, trying again", error);
      return this.#lost();
    }
    this.#socket = socket;
    const ours = (): boolean => this.#socket === socket;
    this.#timer = setTimeout(() => this.#lost(), connectTimeoutMs);
    socket.addEventListener("open", () => ours() && this.#opened());
    socket.addEventListener("message", ({ data }) => {
      const frame = ours() && frameOf(data);
      if (frame) this.#owner.received(frame);
    });
    socket.addEventListener("close", ({ code }) => ours() && this.#lost(code));
    socket.addEventListener("error", () => {}); // `close` always follows, and says no less
  }

  #opened(): void {
    clearTimeout(this.#timer);
    this.#openedAtMs = Date.now();
    this.#status = "open";
    this.#owner.opened();
    this.#listeners.notify("open");
  }

  /** Gives the socket up, and whatever the timer was for. */
  #drop(code?: number): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close(code);
  }

  #lost(code?: number): void {
    if (this.#status === "closed") return;
    this.#drop();
    const { token, reconnect, random = Math.random } = this.#options;
    // Only a connection that held starts the delays anew: a server that accepts and drops is not hammered.
    if (this.#status === "open" && Date.now() - this.#openedAtMs >= BACKOFF_MAX_MS) this.#failures = 0;
    const before = this.#status;
    this.#status = "reconnecting";
    this.#owner.lost();
    if (code === TOKEN_EXPIRED && typeof token === "string") {
      this.#owner.failed(new ZocketError("The token has expired", { code: "unauthorized" }));
      return this.close();
    }
    if (reconnect === false || code === KICKED) return this.close();
    if (before !== "reconnecting") this.#listeners.notify("reconnecting");
    if (this.#status !== "reconnecting") return; // a listener closed the client
    this.#timer = setTimeout(() => this.#open(), backoffMs(this.#failures++, random));
  }
}

/** Doubles from 250–500 ms to 1–2 s; the spread keeps a thousand clients from coming back in one instant. */
function backoffMs(failures: number, random: () => number): number {
  return Math.min(BACKOFF_MIN_MS * 2 ** failures, BACKOFF_MAX_MS / 2) * (1 + random());
}
