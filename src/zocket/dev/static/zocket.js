/**
 * Zocket in the browser: call actors, hear their events, watch their state.
 *
 * One ES module without dependencies, served as `/zocket.js`. Its rules:
 *
 * 1. A call is sent at most once. It may wait for the connection; once it was sent, a dropped socket rejects it, because
 *    nobody knows whether it ran. Only a call with an idempotency key is sent again: after a dropped socket, and when the
 *    server is `unavailable` or `overloaded`.
 * 2. Subscriptions belong to the client, not to the socket: they are counted, and sent again on every new socket.
 * 3. A snapshot is never changed. A patch makes a new one that shares every untouched part with the old one, so `===`
 *    tells whether a part changed.
 * 4. An unknown frame is ignored, a broken listener disturbs nobody else, a patch that does not fit is answered by asking
 *    for a fresh snapshot.
 * 5. Where the server numbers the versions of a state, a new socket asks only for what it missed, and a missing patch is
 *    noticed and asked for.
 *
 *     import { connect, gatewayUrl } from "/zocket.js";
 *     const client = connect(await gatewayUrl());
 *     const room = client.actor("chat", "general");
 *     room.state.subscribe((state) => render(state));
 *     room.on("posted", (message) => notify(message));
 *     await room.post({ text: "hello" });
 */

/** Delay before the first reconnect, at least; it doubles with every attempt that fails. */
const BACKOFF_MIN_MS = 250;
/** Delay before a reconnect, at most: a server that comes back is found within two seconds. */
const BACKOFF_MAX_MS = 2_000;
/** A call that waits for the connection and its answer longer than this is rejected with the code `timeout`. */
const RPC_TIMEOUT_MS = 10_000;
/** Delay before a refused call with an idempotency key is sent again, at most; it doubles with every refusal. */
const RETRY_MIN_MS = 250;
/** The most that this delay grows to. */
const RETRY_MAX_MS = 2_000;
/** Codes that say: not served, try again. */
const PASSING = new Set(["unavailable", "overloaded"]);
/** A socket that is still not open after this long is given up; the next attempt follows. */
const CONNECT_TIMEOUT_MS = 10_000;

/** @typedef {"connecting" | "open" | "reconnecting" | "closed"} Status */
/** @typedef {() => void} Off  ends a subscription; a second call does nothing */
/** @typedef {{op: string, path: string, from?: string, value?: any}} Operation  one RFC 6902 operation */
/** @typedef {{epoch: string, seq: number}} Version  of a state: one life of it, and a count of its patches */
/**
 * @typedef {object} Options
 * @property {string | (() => string | Promise<string>)} [token]  sent as `?token=`; a function is asked before every attempt
 * @property {number} [rpcTimeoutMs]
 * @property {number} [connectTimeoutMs]
 * @property {boolean} [reconnect]  false: the first lost socket closes the client
 * @property {typeof WebSocket} [WebSocket]  the class to use where the platform has none
 * @property {() => number} [random]  source of the jitter, in [0, 1)
 */
/**
 * @typedef {object} CallOptions
 * @property {string | true} [idempotencyKey]  names the call over all its retries, 1–128 printable ASCII characters; true
 *     makes a random one. Such a call is repeated by itself until its time limit, and takes effect once
 * @property {number} [timeoutMs]  instead of the client's `rpcTimeoutMs`
 */
/**
 * @typedef {object} StateStore  has the shape that React's `useSyncExternalStore` takes
 * @property {(listener: (state: any) => void) => Off} subscribe  called after every change, first when the snapshot arrives;
 *     not called on subscribing
 * @property {() => any} getSnapshot  the newest state; `undefined` before the first snapshot and when nobody subscribes
 */
/**
 * @typedef {object} HandleMembers
 * @property {StateStore} state
 * @property {(event: string, listener: (payload: any) => void) => Off} on
 * @property {(method: string, input?: any, options?: CallOptions) => Promise<any>} call  for a method whose name is taken (`on`, `state`, `call`)
 */
/** @typedef {HandleMembers & Record<string, (input?: any, options?: CallOptions) => Promise<any>>} Handle */

/**
 * Every error of this module. Match on `code`: the server's codes (`validation_failed`, `unknown_method`, a code of your
 * own from `ActorError`, …), or one of the client's: `timeout`, `disconnected`, `closed`, `bad_patch`. A server that sends
 * no code gives `error`.
 */
export class ZocketError extends Error {
  /** @param {string} message  @param {{code?: string, requestId?: string, data?: any}} [details] */
  constructor(message, { code = "error", requestId, data } = {}) {
    super(message);
    this.name = "ZocketError";
    /** Stable, lower case with underscores. */
    this.code = code;
    /** Finds the log lines of the call on the server. */
    this.requestId = requestId;
    /** Details that the actor attached. */
    this.data = data;
  }
}

/** @param {Record<string, any>} frame  @param {string} message */
const errorOf = (frame, message) =>
  new ZocketError(message, { code: frame.code, requestId: frame.requestId, data: frame.data });

/**
 * Applies RFC 6902 operations and returns the new document; the old one stays as it was, and untouched parts are shared.
 * A container is copied at most once for one list of operations.
 *
 * @template T
 * @param {T} document
 * @param {readonly Operation[]} operations
 * @returns {any}
 * @throws {ZocketError} `bad_patch`: an operation that does not fit the document; nothing is applied then
 */
export function applyPatch(document, operations) {
  const patch = new Patch(document);
  for (const operation of operations) patch.apply(operation);
  return patch.root;
}

class Patch {
  /** Containers made by this patch: only these may be written to. @type {Set<object>} */
  #owned = new Set();

  /** @param {any} root */
  constructor(root) {
    this.root = root;
  }

  /** @param {Operation} operation */
  apply({ op, path, from, value }) {
    switch (op) {
      case "add":
        return this.#add(path, value);
      case "replace":
        this.#get(path);
        return this.#set(path, value);
      case "remove":
        return void this.#remove(path);
      case "move":
        if (path.startsWith(`${from}/`)) throw badPatch("move into itself", path);
        return from === path ? void this.#get(path) : this.#add(path, this.#remove(String(from)));
      case "copy": {
        const source = this.#get(String(from));
        this.#owned.clear(); // now reachable by two paths: writing through one must not show in the other
        return this.#add(path, source);
      }
      case "test":
        if (!equal(this.#get(path), value)) throw badPatch("test failed", path);
        return;
      default:
        throw badPatch(`unknown operation ${op}`, path);
    }
  }

  /** @param {string} path */
  #get(path) {
    let node = this.root;
    for (const key of keysOf(path)) node = node[existing(node, key, path)];
    return node;
  }

  /** @param {string} path  @param {any} value */
  #add(path, value) {
    const parent = this.#writableParent(path);
    if (!Array.isArray(parent)) return this.#set(path, value);
    const key = lastKeyOf(path);
    const index = key === "-" ? parent.length : indexOf(key, path);
    if (index > parent.length) throw badPatch("beyond the end of the array", path);
    parent.splice(index, 0, value);
  }

  /** @param {string} path  @param {any} value */
  #set(path, value) {
    if (path === "") {
      this.root = value;
      return;
    }
    const key = lastKeyOf(path);
    if (key === "__proto__") throw badPatch("a key that no state may have", path);
    this.#writableParent(path)[key] = value;
  }

  /** @param {string} path */
  #remove(path) {
    if (path === "") throw badPatch("cannot remove the whole state", path);
    const parent = this.#writableParent(path);
    const key = existing(parent, lastKeyOf(path), path);
    const value = parent[key];
    if (Array.isArray(parent)) parent.splice(Number(key), 1);
    else delete parent[key];
    return value;
  }

  /**
   * The container that holds `path`, copied together with everything above it, unless this patch made them.
   * @param {string} path  @returns {any}
   */
  #writableParent(path) {
    if (path === "") return undefined;
    let node = (this.root = this.#own(this.root, path));
    for (const key of keysOf(path).slice(0, -1)) {
      const place = existing(node, key, path);
      node = node[place] = this.#own(node[place], path);
    }
    return node;
  }

  /** @param {any} container  @param {string} path */
  #own(container, path) {
    if (container === null || typeof container !== "object") throw badPatch("goes through a plain value", path);
    if (this.#owned.has(container)) return container;
    const copy = Array.isArray(container) ? container.slice() : { ...container };
    this.#owned.add(copy);
    return copy;
  }
}

/** @param {string} reason  @param {string} path */
const badPatch = (reason, path) => new ZocketError(`Patch at ${JSON.stringify(path)}: ${reason}`, { code: "bad_patch" });

/** @param {string} path  @returns {string[]} */
function keysOf(path) {
  if (path === "") return [];
  if (typeof path !== "string" || path[0] !== "/") throw badPatch("not a JSON pointer", path);
  const keys = path.slice(1).split("/");
  return path.includes("~") ? keys.map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~")) : keys;
}

/** @param {string} path */
const lastKeyOf = (path) => /** @type {string} */ (keysOf(path).at(-1));

/** @param {string} key  @param {string} path */
function indexOf(key, path) {
  if (!/^(0|[1-9]\d*)$/.test(key)) throw badPatch("not an array index", path);
  return Number(key);
}

/**
 * `key` itself, if `container` has it.
 * @param {any} container  @param {string} key  @param {string} path
 */
function existing(container, key, path) {
  if (container === null || typeof container !== "object") throw badPatch("goes through a plain value", path);
  const there = Array.isArray(container) ? indexOf(key, path) < container.length : Object.hasOwn(container, key);
  if (!there) throw badPatch("no such place", path);
  return key;
}

/**
 * JSON equality: the order of keys does not count.
 * @param {any} a  @param {any} b  @returns {boolean}
 */
function equal(a, b) {
  if (a === b) return true;
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key]));
}

/**
 * Callbacks in the order they came; one that throws is reported like any uncaught error, and the others still run.
 * @template T
 */
class Listeners {
  /** @type {Set<{listener: (value: T) => void}>} */
  #entries = new Set();

  get size() {
    return this.#entries.size;
  }

  /** @param {(value: T) => void} listener  @returns {() => boolean} ends it; false if it was over already */
  add(listener) {
    if (typeof listener !== "function") throw new TypeError("a listener must be a function");
    const entry = { listener }; // an entry of its own: the same function may listen twice
    this.#entries.add(entry);
    return () => this.#entries.delete(entry);
  }

  /** @param {T} value */
  notify(value) {
    for (const entry of [...this.#entries]) {
      if (!this.#entries.has(entry)) continue; // removed by a listener before it
      try {
        entry.listener(value);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

/**
 * @param {Record<string, any>} frame
 * @returns {Version | null} null from a server that does not number its versions
 */
const versionOf = ({ epoch, seq }) => (typeof epoch === "string" && Number.isInteger(seq) ? { epoch, seq } : null);

/** What this client has subscribed to of one actor instance; any number of handles share it. */
class Subscription {
  /** @type {Map<string, Listeners<any>>} */
  #events = new Map();
  /** @type {Listeners<any>} */
  #stateListeners = new Listeners();
  /** False until the snapshot for the newest `state:sub` is here: patches have nothing to apply to. */
  #inStep = false;
  /** What the server calls the state that is here, if it numbers its versions. @type {Version | null} */
  #version = null;
  /** @type {any} */
  state = undefined;

  /** @param {string} actor  @param {string} actorId  @param {(frame: object) => void} send  drops it without a socket */
  constructor(actor, actorId, send) {
    this.actor = actor;
    this.actorId = actorId;
    this.send = send;
  }

  get empty() {
    return this.#events.size === 0 && this.#stateListeners.size === 0;
  }

  /** @param {string} event  @param {(payload: any) => void} listener  @returns {Off} */
  onEvent(event, listener) {
    const listeners = this.#events.get(event) ?? new Listeners();
    const remove = listeners.add(listener);
    const first = this.#events.size === 0;
    this.#events.set(event, listeners);
    if (first) this.#sendType("event:sub");
    return () => {
      if (!remove() || listeners.size > 0) return;
      this.#events.delete(event);
      if (this.#events.size === 0) this.#sendType("event:unsub");
    };
  }

  /** @param {(state: any) => void} listener  @returns {Off} */
  onState(listener) {
    const remove = this.#stateListeners.add(listener);
    if (this.#stateListeners.size === 1) this.#askForState(null);
    return () => {
      if (!remove() || this.#stateListeners.size > 0) return;
      this.state = undefined; // nobody keeps it fresh any more
      this.#version = null;
      this.#inStep = false;
      this.#sendType("state:unsub");
    };
  }

  /** On a new socket: says again what is wanted. */
  renew() {
    if (this.#events.size > 0) this.#sendType("event:sub");
    if (this.#stateListeners.size > 0) this.#askForState(this.#version);
  }

  /** @param {Record<string, any>} frame */
  receive(frame) {
    if (frame.type === "event") this.#events.get(frame.event)?.notify(frame.payload);
    else if (this.#stateListeners.size === 0) return; // was on its way when the last listener left
    else if (frame.type === "state:snapshot") this.#become(frame.state, versionOf(frame));
    else if (frame.type === "state:patch" && this.#isNext(frame)) this.#patch(frame.patches, versionOf(frame));
  }

  /**
   * Whether a patch leads on from the state that is here; where one is missing, asks for it.
   * @param {Record<string, any>} frame
   */
  #isNext(frame) {
    const version = versionOf(frame);
    const known = this.#version;
    if (version === null || known === null) return this.#inStep;
    if (version.epoch !== known.epoch) {
      if (this.#inStep) this.#askForState(null);
      this.#version = null;
      return false;
    }
    if (version.seq > known.seq + 1) {
      if (this.#inStep) this.#askForState(known);
      return false;
    }
    if (version.seq === known.seq) this.#inStep = true; // nothing was missed
    return version.seq > known.seq;
  }

  /** @param {Operation[]} operations  @param {Version | null} version */
  #patch(operations, version) {
    let next;
    try {
      next = applyPatch(this.state, operations);
    } catch (error) {
      if (!(error instanceof ZocketError)) throw error;
      this.#version = null;
      return this.#askForState(null);
    }
    this.#become(next, version);
  }

  /** @param {any} state  @param {Version | null} version */
  #become(state, version) {
    this.#inStep = true;
    this.#version = version;
    this.state = state;
    this.#stateListeners.notify(state);
  }

  /** @param {Version | null} since  the version from which on patches will do; null asks for a snapshot */
  #askForState(since) {
    this.#inStep = false;
    this.#sendType("state:sub", since === null ? {} : { since });
  }

  /** @param {string} type  @param {object} [more] */
  #sendType(type, more = {}) {
    this.send({ type, actor: this.actor, actorId: this.actorId, ...more });
  }
}

/**
 * @typedef {object} Call
 * @property {(value: any) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {ReturnType<typeof setTimeout>} timer
 * @property {string} text  its frame
 * @property {boolean} waits  for a connection
 * @property {boolean} repeats  it has an idempotency key
 * @property {number} refusals
 * @property {ReturnType<typeof setTimeout>} [pause]  until it is sent again
 */

/** The calls without an answer; each is settled exactly once. */
class Calls {
  /** @type {Map<string, Call>} */
  #open = new Map();
  #lastId = 0;
  #send;
  #random;

  /** @param {(text: string) => boolean} send  false while there is no connection  @param {() => number} [random] */
  constructor(send, random = Math.random) {
    this.#send = send;
    this.#random = random;
  }

  /**
   * @param {Record<string, any>} fields  actor, actorId, method, input, idempotencyKey
   * @param {number} limitMs
   * @returns {Promise<any>}
   */
  start(fields, limitMs) {
    const id = String(++this.#lastId);
    const text = JSON.stringify({ type: "rpc", id, ...fields });
    const what = `${fields.actor}.${fields.method}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#timeOut(id, what, limitMs), limitMs);
      const repeats = fields.idempotencyKey !== undefined;
      this.#open.set(id, { resolve, reject, timer, text, waits: !this.#send(text), repeats, refusals: 0 });
    });
  }

  sendWaiting() {
    for (const call of this.#open.values()) {
      if (call.waits) call.waits = !this.#send(call.text);
    }
  }

  /** @param {Record<string, any>} frame */
  receive(frame) {
    const id = String(frame.id);
    const call = this.#open.get(id);
    if (call === undefined) return; // it ran into its time limit
    if (call.repeats && PASSING.has(frame.code)) return this.#sendLater(call);
    this.#take(id);
    if (typeof frame.error === "string") call.reject(errorOf(frame, frame.error));
    else call.resolve(frame.result);
  }

  /** Rejects what was sent and has no key: it may or may not have run. Everything else waits for the next socket. */
  socketLost() {
    const isOver = (/** @type {Call} */ call) => !call.waits && !call.repeats;
    this.#rejectAll(isOver, "The connection was lost before the answer came", "disconnected");
    for (const call of this.#open.values()) call.waits = call.pause === undefined;
  }

  /** @param {Call} call */
  #sendLater(call) {
    const mostMs = Math.min(RETRY_MIN_MS * 2 ** call.refusals++, RETRY_MAX_MS);
    call.pause = setTimeout(() => {
      call.pause = undefined;
      call.waits = !this.#send(call.text);
    }, mostMs * this.#random());
  }

  clientClosed() {
    this.#rejectAll(() => true, "The client was closed", "closed");
  }

  /** @param {(call: Call) => boolean} which  @param {string} message  @param {string} code */
  #rejectAll(which, message, code) {
    for (const [id, call] of [...this.#open]) {
      if (which(call)) this.#take(id)?.reject(new ZocketError(message, { code }));
    }
  }

  /** @param {string} id  @param {string} what  @param {number} limitMs */
  #timeOut(id, what, limitMs) {
    const call = this.#take(id);
    const cause = call?.waits ? "there was no connection" : "no answer came";
    call?.reject(new ZocketError(`${what}: ${cause} within ${limitMs / 1000} s`, { code: "timeout" }));
  }

  /** @param {string} id */
  #take(id) {
    const call = this.#open.get(id);
    this.#open.delete(id);
    clearTimeout(call?.timer);
    clearTimeout(call?.pause);
    return call;
  }
}

/** One connection to a gateway or a standalone server, made by `connect`. */
class Client {
  /** @type {Status} */
  #status = "connecting";
  /** @type {string | undefined} */
  #id;
  /** @type {WebSocket | null} */
  #socket = null;
  /** Failed attempts since the last connection that held. */
  #failures = 0;
  #openedAtMs = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #calls;
  /** @type {Map<string, Subscription>} */
  #subscriptions = new Map();
  /** @type {Listeners<Status>} */
  #statusListeners = new Listeners();
  /** @type {Listeners<ZocketError>} */
  #errorListeners = new Listeners();

  /** @param {string | URL} url  @param {Options} options */
  constructor(url, options) {
    this.url = new URL(url, globalThis.location?.href);
    this.url.protocol = this.url.protocol.replace("http", "ws");
    if (!/^wss?:$/.test(this.url.protocol)) throw new TypeError(`not the address of a WebSocket server: ${url}`);
    this.options = options;
    this.#calls = new Calls(this.#sendText, options.random);
    this.#open();
  }

  get status() {
    return this.#status;
  }

  /** The id by which actors know this connection (`self.session.id`); `undefined` until the server has told it. */
  get id() {
    return this.#id;
  }

  /** @param {(status: Status) => void} listener  called on every change  @returns {Off} */
  onStatus(listener) {
    return this.#statusListeners.add(listener);
  }

  /**
   * For failures that answer no call, such as a refused subscription; without a listener they go to the console.
   * @param {(error: ZocketError) => void} listener  @returns {Off}
   */
  onError(listener) {
    return this.#errorListeners.add(listener);
  }

  /**
   * A handle on one actor instance; it costs nothing until it is used. Every name that is not taken is a method:
   * `room.post({text})` resolves with the method's result.
   *
   * @param {string} actor  @param {string} actorId  @returns {Handle}
   */
  actor(actor, actorId) {
    const id = String(actorId);
    /** @type {HandleMembers} */
    const members = {
      call: (method, input, options) => this.#call(actor, id, method, input, options),
      on: (event, listener) => this.#subscribe(actor, id, (of) => of.onEvent(event, listener)),
      state: {
        subscribe: (listener) => this.#subscribe(actor, id, (of) => of.onState(listener)),
        getSnapshot: () => this.#subscriptions.get(keyOf(actor, id))?.state,
      },
    };
    return handleOf(members, `${actor}/${id}`);
  }

  /** Ends the connection for good: open calls are rejected with `closed`, subscriptions are forgotten. */
  close() {
    if (this.#status === "closed") return;
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.#subscriptions.clear();
    this.#calls.clientClosed();
    this.#setStatus("closed");
  }

  /**
   * @param {string} actor  @param {string} actorId  @param {string} method  @param {any} input
   * @param {CallOptions} [options]
   */
  async #call(actor, actorId, method, input, options = {}) {
    const { idempotencyKey: given, timeoutMs, ...unknown } = options;
    if (Object.keys(unknown).length > 0) throw new TypeError(`no option of a call: ${Object.keys(unknown).join(", ")}`);
    if (this.#status === "closed") throw new ZocketError("The client is closed", { code: "closed" });
    const idempotencyKey = given === true ? randomKey() : given;
    const limitMs = timeoutMs ?? this.options.rpcTimeoutMs ?? RPC_TIMEOUT_MS;
    return this.#calls.start({ actor, actorId, method, input, idempotencyKey }, limitMs);
  }

  /** @param {string} actor  @param {string} actorId  @param {(of: Subscription) => Off} begin  @returns {Off} */
  #subscribe(actor, actorId, begin) {
    if (this.#status === "closed") throw new ZocketError("The client is closed", { code: "closed" });
    const key = keyOf(actor, actorId);
    const subscription =
      this.#subscriptions.get(key) ??
      new Subscription(actor, actorId, (frame) => void this.#sendText(JSON.stringify(frame)));
    const end = begin(subscription);
    this.#subscriptions.set(key, subscription);
    return () => {
      end();
      if (subscription.empty && this.#subscriptions.get(key) === subscription) this.#subscriptions.delete(key);
    };
  }

  async #open() {
    const url = new URL(this.url);
    const { token } = this.options;
    try {
      if (token !== undefined) url.searchParams.set("token", typeof token === "function" ? await token() : token);
    } catch (error) {
      console.warn("zocket: no token, trying again", error);
      if (this.#status !== "closed") this.#lost();
      return;
    }
    if (this.#status === "closed") return;
    const socket = new (this.options.WebSocket ?? globalThis.WebSocket)(url.href);
    this.#socket = socket;
    // A socket that is no longer this client's may still speak: each listener asks first.
    const ours = () => this.#socket === socket;
    this.#timer = setTimeout(() => ours() && this.#lost(), this.options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS);
    socket.addEventListener("open", () => ours() && this.#opened());
    socket.addEventListener("message", (message) => ours() && this.#receive(message.data));
    socket.addEventListener("close", () => ours() && this.#lost());
    socket.addEventListener("error", () => {}); // `close` always follows, and says no less
  }

  #opened() {
    clearTimeout(this.#timer);
    this.#openedAtMs = Date.now();
    this.#setStatus("open");
    for (const subscription of this.#subscriptions.values()) subscription.renew();
    this.#calls.sendWaiting();
  }

  #lost() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    this.#id = undefined;
    socket?.close();
    // Only a connection that held starts the delays anew: a server that accepts and drops is not hammered.
    if (this.#status === "open" && Date.now() - this.#openedAtMs >= BACKOFF_MAX_MS) this.#failures = 0;
    this.#calls.socketLost();
    if (this.options.reconnect === false) return this.close();
    this.#setStatus("reconnecting");
    if (this.#status !== "reconnecting") return; // a listener closed the client
    this.#timer = setTimeout(() => this.#open(), backoffMs(this.#failures++, this.options.random));
  }

  /** @param {unknown} data */
  #receive(data) {
    let frame;
    try {
      frame = JSON.parse(/** @type {string} */ (data));
    } catch {
      return; // not ours to understand: the contract says to ignore it
    }
    switch (frame?.type) {
      case "welcome":
        this.#id = frame.clientId;
        break;
      case "rpc:result":
        this.#calls.receive(frame);
        break;
      case "event":
      case "state:snapshot":
      case "state:patch":
        this.#subscriptions.get(keyOf(frame.actor, frame.actorId))?.receive(frame);
        break;
      case "error": {
        const error = errorOf(frame, frame.message);
        if (this.#errorListeners.size === 0) console.error("zocket:", error);
        this.#errorListeners.notify(error);
        break;
      }
    }
  }

  /** @param {string} text */
  #sendText = (text) => {
    if (this.#status !== "open" || this.#socket === null) return false;
    this.#socket.send(text);
    return true;
  };

  /** @param {Status} status */
  #setStatus(status) {
    if (status === this.#status) return;
    this.#status = status;
    this.#statusListeners.notify(status);
  }
}

/** @param {string} actor  @param {string} actorId */
const keyOf = (actor, actorId) => `${actor}/${actorId}`; // an actor's name holds no slash

/** Not `randomUUID`: that is missing on pages without TLS. */
const randomKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * Doubles from 250–500 ms to 1–2 s; the spread keeps a thousand clients from coming back in one instant.
 * @param {number} failures  @param {() => number} [random]
 */
function backoffMs(failures, random = Math.random) {
  const leastMs = Math.min(BACKOFF_MIN_MS * 2 ** failures, BACKOFF_MAX_MS / 2);
  return leastMs * (1 + random());
}

/** @param {HandleMembers} members  @param {string} name  @returns {Handle} */
function handleOf(members, name) {
  /** @type {Map<string, (input?: any, options?: CallOptions) => Promise<any>>} */
  const methods = new Map();
  /** @param {string} method */
  const methodOf = (method) => {
    /** @param {any[]} args */
    const call = async (...args) => {
      const [input, options] = args;
      if (args.length > 2 || options === null || !["object", "undefined"].includes(typeof options)) {
        throw new TypeError(`${name}.${method}: give the input as one object, and options as a second one`);
      }
      return members.call(method, input, options);
    };
    methods.set(method, call);
    return call;
  };
  return /** @type {Handle} */ (
    new Proxy(members, {
      get(target, property) {
        if (typeof property === "symbol" || Object.hasOwn(target, property)) return Reflect.get(target, property);
        if (property === "then") return undefined; // or `await handle` would call a method of that name
        if (property in Object.prototype || property === "toJSON") return Reflect.get(target, property);
        return methods.get(property) ?? methodOf(property);
      },
      set(_, property) {
        throw new TypeError(`${name}.${String(property)} cannot be assigned: call a method of the actor`);
      },
    })
  );
}

/**
 * Connects, and stays connected until `close()`. Returns at once: calls wait for the connection.
 *
 * @param {string | URL} url  `ws(s)://host[:port]/`; `http(s)` is taken as `ws(s)`, a path is relative to the page
 * @param {Options} [options]
 */
export function connect(url, options = {}) {
  return new Client(url, options);
}

/**
 * Where the page's own server says that its gateway is: `url` in `/zocket-config.json`, otherwise the page's own origin.
 *
 * @returns {Promise<string>}
 */
export async function gatewayUrl() {
  const origin = globalThis.location.origin.replace(/^http/, "ws");
  try {
    const response = await fetch("/zocket-config.json", { cache: "no-store" });
    return response.ok ? ((await response.json()).url ?? origin) : origin;
  } catch {
    return origin; // a server that has no such file may answer with anything
  }
}
