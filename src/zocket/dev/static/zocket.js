/**
 * Zocket in the browser: call actors, hear their events, watch their state. Built from clients/js/src; docs/javascript.md
 * says how to use it.
 */

// src/names.ts
function makeNames(cls, make) {
  const fallback = new Proxy(Object.prototype, {
    get(target, name, owner) {
      if (typeof name === "symbol" || name in target) return Reflect.get(target, name, owner);
      if (name === "then" || name === "toJSON") return void 0;
      const value = make(owner, name);
      Object.defineProperty(owner, name, { value });
      return value;
    },
    set(_target, name, _value, owner) {
      throw new TypeError(`${owner}.${String(name)} cannot be assigned`);
    }
  });
  Object.setPrototypeOf(cls.prototype, fallback);
}

// src/errors.ts
var ZocketError = class extends Error {
  name = "ZocketError";
  constructor(message, { code = "error", requestId, data } = {}) {
    super(message);
    Object.assign(this, { code, requestId, data });
  }
};
var CallTimeout = class extends ZocketError {
  name = "CallTimeout";
  constructor(message, details = {}) {
    super(message, { ...details, code: "timeout" });
  }
};
var Disconnected = class extends ZocketError {
  name = "Disconnected";
};
var closedError = () => new Disconnected("The client is closed", { code: "closed" });
var errorOf = (frame, message) => frame.code === "timeout" ? new CallTimeout(message, frame) : new ZocketError(message, frame);

// src/streams.ts
var MAX_WAITING_CHUNKS = 1e4;
async function* chunksOf(start, signal) {
  const waiting = [];
  let ended = false;
  let wake = () => {
  };
  const { answer, abort } = start((chunk) => {
    if (waiting.push(chunk) > MAX_WAITING_CHUNKS) abort(tooSlow());
    wake();
  });
  const end = () => {
    ended = true;
    wake();
  };
  answer.then(end, end);
  try {
    for (; ; ) {
      while (waiting.length > 0) {
        signal?.throwIfAborted();
        yield waiting.shift();
      }
      if (ended) return await answer;
      await new Promise((resolve) => wake = resolve);
    }
  } finally {
    abort(void 0);
  }
}
var tooSlow = () => new ZocketError(`More than ${MAX_WAITING_CHUNKS} chunks wait for their reader`, { code: "overloaded" });

// src/handle.ts
var HandleCore = class _HandleCore {
  #session;
  #place;
  state;
  static {
    makeNames(_HandleCore, (handle, name) => handle.#method(name));
  }
  constructor(session, actor, actorId) {
    const place = { actor, actorId };
    this.#session = session;
    this.#place = place;
    this.state = {
      subscribe: (listener) => session.subscribe(place, (to) => to.onState(listener)),
      getSnapshot: () => session.snapshot(place)
    };
  }
  on(event, listener) {
    return this.#session.subscribe(this.#place, (to) => to.onEvent(event, listener));
  }
  async call(method, ...args) {
    return this.#session.start(this.#place, method, ...this.#checked(method, args)).answer;
  }
  toString() {
    return `${this.#place.actor}/${this.#place.actorId}`;
  }
  #method(name) {
    const stream = (...args) => {
      const [input, options] = this.#checked(name, args);
      if (options.idempotencyKey !== void 0) throw new TypeError(`${this}.${name}: a stream is not repeated`);
      return chunksOf((onChunk) => this.#session.start(this.#place, name, input, options, onChunk), options.signal);
    };
    return Object.assign((...args) => this.call(name, ...args), { stream });
  }
  #checked(method, args) {
    const [input, options = {}] = args;
    if (args.length > 2 || options === null || typeof options !== "object") {
      throw new TypeError(`${this}.${method}: give the input as one object, and options as a second one`);
    }
    return [input, options];
  }
};

// src/calls.ts
var RETRY_MIN_MS = 250;
var RETRY_MAX_MS = 2e3;
var GAP = "Chunks of the stream were lost, or it began anew";
var PASSING = /* @__PURE__ */ new Set(["unavailable", "overloaded"]);
var Calls = class {
  #open = /* @__PURE__ */ new Map();
  #send;
  #random;
  #lastId = 0;
  /** Whether the server of the present connection takes `rpc:cancel`. */
  cancels = false;
  /** `send` gives false while there is no connection. */
  constructor(send, random) {
    this.#send = send;
    this.#random = random;
  }
  start(request, watch) {
    const id = String(++this.#lastId);
    const { signal } = watch;
    const abort = (reason) => this.#abort(id, reason);
    const answer = new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => abort(signal?.reason);
      signal?.addEventListener("abort", onAbort);
      const text = JSON.stringify({ type: "rpc", id, ...request });
      this.#open.set(id, {
        ...watch,
        resolve,
        reject,
        name: `${request.actor}.${request.method}`,
        text,
        timer: this.#limit(id, watch.limitMs),
        waits: !this.#send(text),
        chunks: 0,
        repeats: request.idempotencyKey !== void 0,
        refusals: 0,
        pause: void 0,
        unlisten: () => signal?.removeEventListener("abort", onAbort)
      });
    });
    return { answer, abort };
  }
  /** A connection is open. */
  sendWaiting() {
    for (const call of this.#open.values()) {
      if (call.waits) call.waits = !this.#send(call.text);
    }
  }
  /** Takes an `rpc:result` or `rpc:stream`. */
  receive(frame) {
    const id = String(frame.id);
    const call = this.#open.get(id);
    if (call === void 0) return;
    if (frame.type === "rpc:stream") {
      clearTimeout(call.timer);
      call.timer = this.#limit(id, call.limitMs);
      call.chunks += 1;
      if (hasGap(call, frame)) this.#abort(id, lostError(GAP));
      else call.onChunk?.(frame.chunk);
    } else if (call.repeats && PASSING.has(frame.code)) this.#sendLater(call);
    else {
      this.#take(id);
      if (typeof frame.error === "string") call.reject(errorOf(frame, frame.error));
      else if (hasGap(call, frame)) call.reject(lostError(GAP));
      else call.resolve(frame.result);
    }
  }
  /** The connection is gone: what was sent and has no key is rejected, everything else waits for the next one. */
  connectionLost() {
    this.cancels = false;
    const error = lostError("The connection was lost before the answer came");
    this.#rejectAll((call) => !call.waits && !call.repeats, error);
    for (const call of this.#open.values()) call.waits = call.pause === void 0;
  }
  clientClosed() {
    this.#rejectAll(() => true, closedError());
  }
  #sendLater(call) {
    const mostMs = Math.min(RETRY_MIN_MS * 2 ** call.refusals++, RETRY_MAX_MS);
    call.pause = setTimeout(() => {
      call.pause = void 0;
      call.waits = !this.#send(call.text);
    }, mostMs * this.#random());
  }
  #limit(id, limitMs) {
    return setTimeout(() => {
      const call = this.#take(id);
      const cause = call.waits ? "there was no connection" : "no answer came";
      call.reject(new CallTimeout(`${call.name}: ${cause} within ${limitMs / 1e3} s`));
    }, limitMs);
  }
  #abort(id, reason) {
    const call = this.#take(id);
    if (call === void 0) return;
    if (this.cancels && !call.waits && call.pause === void 0) this.#send(JSON.stringify({ type: "rpc:cancel", id }));
    call.reject(reason);
  }
  #rejectAll(which, error) {
    for (const [id, call] of [...this.#open]) {
      if (which(call)) this.#take(id)?.reject(error);
    }
  }
  /** Settles a call: nothing that comes later concerns it. */
  #take(id) {
    const call = this.#open.get(id);
    if (call === void 0) return void 0;
    this.#open.delete(id);
    clearTimeout(call.timer);
    clearTimeout(call.pause);
    call.unlisten();
    return call;
  }
};
var hasGap = ({ onChunk, chunks }, { seq = chunks }) => onChunk !== void 0 && seq !== chunks;
var lostError = (message) => new Disconnected(message, { code: "disconnected" });

// src/frames.ts
function frameOf(text) {
  try {
    const frame = JSON.parse(text);
    return typeof frame?.type === "string" ? frame : void 0;
  } catch {
    return void 0;
  }
}
var takes = ({ features }, type) => Array.isArray(features) && features.includes(type);

// src/listeners.ts
var Listeners = class {
  #entries = /* @__PURE__ */ new Set();
  get size() {
    return this.#entries.size;
  }
  /** Returns what ends it, which gives false if it was over already. The same function may listen twice. */
  add(listener) {
    if (typeof listener !== "function") throw new TypeError("a listener must be a function");
    const entry = { listener };
    this.#entries.add(entry);
    return () => this.#entries.delete(entry);
  }
  notify(value) {
    for (const entry of [...this.#entries]) {
      if (!this.#entries.has(entry)) continue;
      try {
        entry.listener(value);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
};

// src/connection.ts
var BACKOFF_MIN_MS = 250;
var BACKOFF_MAX_MS = 2e3;
var CONNECT_TIMEOUT_MS = 1e4;
var REFRESH_LAST_MS = 5e3;
var TIMER_MAX_MS = 2 ** 30;
var TOKEN_EXPIRED = 4401;
var KICKED = 4403;
var Connection = class {
  /** Lets the next connection go on with the session, for actors that wait for it. */
  resume;
  #options;
  #owner;
  #listeners = new Listeners();
  #status = "connecting";
  #url;
  #socket;
  /** Failed attempts since the last connection that held. */
  #failures = 0;
  #openedAtMs = 0;
  #timer;
  constructor(options, owner) {
    this.#options = options;
    this.#owner = owner;
  }
  get status() {
    return this.#status;
  }
  onStatus(listener) {
    return this.#listeners.add(listener);
  }
  /**
   * Begins to connect, unless that has begun.
   *
   * @throws TypeError: the address is none of a WebSocket server, or there is no WebSocket here
   */
  connect() {
    if (this.#url !== void 0 || this.#status === "closed") return;
    const url = new URL(this.#options.url, globalThis.location?.href);
    url.protocol = url.protocol.replace("http", "ws");
    if (!/^wss?:$/.test(url.protocol)) throw new TypeError(`not the address of a WebSocket server: ${url}`);
    if (this.#socketClass() === void 0) throw new TypeError("no WebSocket here: give a class as the option WebSocket");
    this.#url = url;
    void this.#open();
  }
  /** False if there is no open connection; the text is dropped then. */
  send(text) {
    if (this.#status !== "open") return false;
    this.#socket?.send(text);
    return true;
  }
  /** The server takes other tokens, and the present one's time ends then, in milliseconds since the epoch, if ever. */
  refreshUntil(endMs) {
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
  close() {
    if (this.#status === "closed") return;
    this.#drop(1e3);
    this.#status = "closed";
    this.#owner.closed();
    this.#listeners.notify("closed");
  }
  #socketClass() {
    return this.#options.WebSocket ?? globalThis.WebSocket;
  }
  async #open() {
    const url = new URL(this.#url);
    const { token, metadata, connectTimeoutMs = CONNECT_TIMEOUT_MS } = this.#options;
    if (this.resume !== void 0) url.searchParams.set("resume", this.resume);
    if (metadata !== void 0) url.searchParams.set("metadata", JSON.stringify(metadata));
    let socket;
    try {
      if (token !== void 0) url.searchParams.set("token", typeof token === "function" ? await token() : token);
      if (this.#status === "closed") return;
      socket = new (this.#socketClass())(url.href);
    } catch (error) {
      console.warn("zocket: no token or no socket, trying again", error);
      return this.#lost();
    }
    this.#socket = socket;
    const ours = () => this.#socket === socket;
    this.#timer = setTimeout(() => this.#lost(), connectTimeoutMs);
    socket.addEventListener("open", () => ours() && this.#opened());
    socket.addEventListener("message", ({ data }) => {
      const frame = ours() && frameOf(data);
      if (frame) this.#owner.received(frame);
    });
    socket.addEventListener("close", ({ code }) => ours() && this.#lost(code));
    socket.addEventListener("error", () => {
    });
  }
  #opened() {
    clearTimeout(this.#timer);
    this.#openedAtMs = Date.now();
    this.#status = "open";
    this.#owner.opened();
    this.#listeners.notify("open");
  }
  /** Gives the socket up, and whatever the timer was for. */
  #drop(code) {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = void 0;
    socket?.close(code);
  }
  #lost(code) {
    if (this.#status === "closed") return;
    this.#drop();
    const { token, reconnect, random = Math.random } = this.#options;
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
    if (this.#status !== "reconnecting") return;
    this.#timer = setTimeout(() => this.#open(), backoffMs(this.#failures++, random));
  }
};
function backoffMs(failures, random) {
  return Math.min(BACKOFF_MIN_MS * 2 ** failures, BACKOFF_MAX_MS / 2) * (1 + random());
}

// src/patch.ts
function applyPatch(document, operations) {
  const patch = new Patch(document);
  for (const operation of operations) patch.apply(operation);
  return patch.root;
}
var Patch = class {
  /** Containers made by this patch: only these may be written to. */
  #owned = /* @__PURE__ */ new Set();
  /** Holds the document as its member "": with that name every pointer begins, once it is split. */
  #top;
  constructor(root) {
    this.#top = { "": root };
  }
  get root() {
    return this.#top[""];
  }
  apply({ op, path, from, value }) {
    switch (op) {
      case "add":
        return this.#add(path, value);
      case "replace":
        this.#get(path);
        return this.#set(path, value);
      case "append": {
        const text = this.#get(path);
        if (typeof text !== "string" || typeof value !== "string") throw badPatch(path);
        return this.#set(path, text + value);
      }
      case "remove":
        return void this.#remove(path);
      case "move":
        if (path.startsWith(`${from}/`)) throw badPatch(path);
        return from === path ? void this.#get(path) : this.#add(path, this.#remove(String(from)));
      case "copy": {
        const source = this.#get(String(from));
        this.#owned.clear();
        return this.#add(path, source);
      }
      case "test":
        if (!equal(this.#get(path), value)) throw badPatch(path);
        return;
      default:
        throw badPatch(path);
    }
  }
  #get(path) {
    let node = this.#top;
    for (const key of keysOf(path)) node = node[existing(node, key, path)];
    return node;
  }
  #add(path, value) {
    const [parent, key] = this.#place(path);
    if (!Array.isArray(parent)) {
      parent[key] = value;
      return;
    }
    const index = key === "-" ? parent.length : indexOf(key);
    if (!(index <= parent.length)) throw badPatch(path);
    parent.splice(index, 0, value);
  }
  #set(path, value) {
    const [parent, key] = this.#place(path);
    parent[key] = value;
  }
  #remove(path) {
    if (path === "") throw badPatch(path);
    const [parent, key] = this.#place(path);
    const value = parent[existing(parent, key, path)];
    if (Array.isArray(parent)) parent.splice(Number(key), 1);
    else delete parent[key];
    return value;
  }
  /** The container that holds `path` and the key there; copied with everything above it, unless this patch made them. */
  #place(path) {
    const keys = keysOf(path);
    const last = keys.pop();
    if (last === "__proto__") throw badPatch(path);
    let node = this.#top = this.#own(this.#top, path);
    for (const key of keys) node = node[key] = this.#own(node[existing(node, key, path)], path);
    return [node, last];
  }
  #own(container, path) {
    if (!isContainer(container)) throw badPatch(path);
    if (this.#owned.has(container)) return container;
    const copy = Array.isArray(container) ? container.slice() : { ...container };
    this.#owned.add(copy);
    return copy;
  }
};
var badPatch = (path) => new ZocketError(`A patch does not fit at ${JSON.stringify(path)}`, { code: "bad_patch" });
function keysOf(path) {
  const keys = `${path}`.split("/");
  if (keys[0] !== "") throw badPatch(path);
  return keys.map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
}
var indexOf = (key) => /^(0|[1-9]\d*)$/.test(key) ? Number(key) : NaN;
var isContainer = (value) => value !== null && typeof value === "object";
function existing(container, key, path) {
  const isThere = isContainer(container) && (Array.isArray(container) ? indexOf(key) < container.length : Object.hasOwn(container, key));
  if (!isThere) throw badPatch(path);
  return key;
}
function equal(a, b) {
  if (a === b) return true;
  if (!isContainer(a) || !isContainer(b) || Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key]));
}

// src/subscription.ts
var versionOf = ({ epoch, seq }) => typeof epoch === "string" && Number.isInteger(seq) ? { epoch, seq } : void 0;
var Subscription = class {
  #events = /* @__PURE__ */ new Map();
  #stateListeners = new Listeners();
  #send;
  /** False until the answer to the newest `state:sub` is here: patches have nothing to apply to. */
  #inStep = false;
  /** What the server calls the state that is here, if it numbers its versions. */
  #version;
  /** The newest state; `undefined` before the first snapshot and when nobody listens. */
  state = void 0;
  /** `send` takes the type of a frame and further fields, and drops it without a connection. */
  constructor(send) {
    this.#send = send;
  }
  get empty() {
    return this.#events.size === 0 && this.#stateListeners.size === 0;
  }
  onEvent(event, listener) {
    const listeners = this.#events.get(event) ?? new Listeners();
    const remove = listeners.add(listener);
    const first = this.#events.size === 0;
    this.#events.set(event, listeners);
    if (first) this.#send("event:sub");
    return () => {
      if (!remove() || listeners.size > 0) return;
      this.#events.delete(event);
      if (this.#events.size === 0) this.#send("event:unsub");
    };
  }
  onState(listener) {
    const remove = this.#stateListeners.add(listener);
    if (this.#stateListeners.size === 1) this.#askForState();
    return () => {
      if (!remove() || this.#stateListeners.size > 0) return;
      this.state = void 0;
      this.#version = void 0;
      this.#inStep = false;
      this.#send("state:unsub");
    };
  }
  /** On a new socket: says again what is wanted. */
  renew() {
    if (this.#events.size > 0) this.#send("event:sub");
    if (this.#stateListeners.size > 0) this.#askForState();
  }
  /** Takes an `event`, `state:snapshot` or `state:patch`. */
  receive(frame) {
    if (frame.type === "event") return this.#events.get(frame.event)?.notify(frame.payload);
    if (this.#stateListeners.size === 0) return;
    const version = versionOf(frame);
    if (frame.type === "state:snapshot") this.#become(frame.state, version);
    else if (this.#isNext(version)) this.#patch(frame.patches, version);
  }
  /** Whether a patch leads on from the state that is here; where one is missing, asks for it. */
  #isNext(version) {
    const known = this.#version;
    if (version === void 0 || known === void 0) return this.#inStep;
    const isOther = version.epoch !== known.epoch;
    if (isOther) this.#version = void 0;
    if (isOther || version.seq > known.seq + 1) {
      if (this.#inStep) this.#askForState();
      return false;
    }
    if (version.seq === known.seq) this.#inStep = true;
    return version.seq > known.seq;
  }
  #patch(operations, version) {
    let next;
    try {
      next = applyPatch(this.state, operations);
    } catch {
      this.#version = void 0;
      return this.#askForState();
    }
    this.#become(next, version);
  }
  #become(state, version) {
    this.#inStep = true;
    this.#version = version;
    this.state = state;
    this.#stateListeners.notify(state);
  }
  /** Patches will do from the version that is here on; without one a snapshot comes. They may say `append`. */
  #askForState() {
    this.#inStep = false;
    this.#send("state:sub", { append: true, since: this.#version });
  }
};

// src/session.ts
var RPC_TIMEOUT_MS = 1e4;
var Session = class {
  connection;
  errorListeners = new Listeners();
  /** The server's name for the session, while there is a connection. */
  id;
  #calls;
  #rpcTimeoutMs;
  #subscriptions = /* @__PURE__ */ new Map();
  constructor({ rpcTimeoutMs = RPC_TIMEOUT_MS, ...options }) {
    this.#rpcTimeoutMs = rpcTimeoutMs;
    this.connection = new Connection(options, {
      opened: () => {
        for (const subscription of this.#subscriptions.values()) subscription.renew();
        this.#calls.sendWaiting();
      },
      received: (frame) => this.#receive(frame),
      lost: () => {
        this.id = void 0;
        this.#calls.connectionLost();
      },
      closed: () => {
        this.#subscriptions.clear();
        this.#calls.clientClosed();
      },
      failed: (error) => this.#fail(error)
    });
    this.#calls = new Calls((text) => this.connection.send(text), options.random ?? Math.random);
  }
  /**
   * Makes a call.
   *
   * @throws Disconnected: the client is closed
   * @throws TypeError: an option that there is not
   */
  start(place, method, input, { idempotencyKey: given, timeoutMs: limitMs = this.#rpcTimeoutMs, signal, ...unknown } = {}, onChunk) {
    const [wrong] = Object.keys(unknown);
    if (wrong !== void 0) throw new TypeError(`no option of a call: ${wrong}`);
    this.#use();
    const idempotencyKey = given === true ? randomKey() : given;
    return this.#calls.start({ ...place, method, input, idempotencyKey }, { limitMs, signal, onChunk });
  }
  /** Begins to listen; the subscription of an instance is made for the first listener and forgotten with the last. */
  subscribe(place, begin) {
    this.#use();
    const key = keyOf(place);
    const subscription = this.#subscriptions.get(key) ?? new Subscription((type, more) => {
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
  snapshot(place) {
    return this.#subscriptions.get(keyOf(place))?.state;
  }
  #use() {
    if (this.connection.status === "closed") throw closedError();
    this.connection.connect();
  }
  #receive(frame) {
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
        this.#subscriptions.get(keyOf(frame))?.receive(frame);
        break;
      case "error":
        if (frame.code === "kicked") this.#subscriptions.delete(keyOf(frame));
        this.#fail(errorOf(frame, frame.message));
    }
  }
  #fail(error) {
    if (this.errorListeners.size === 0) console.error("zocket:", error);
    this.errorListeners.notify(error);
  }
};
var keyOf = ({ actor, actorId }) => `${actor}/${actorId}`;
var randomKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

// src/client.ts
var ClientCore = class _ClientCore {
  #session;
  static {
    makeNames(_ClientCore, (client, type) => (id) => client.actor(type, id));
  }
  constructor(options) {
    this.#session = new Session(options);
  }
  get status() {
    return this.#session.connection.status;
  }
  get id() {
    return this.#session.id;
  }
  onStatus(listener) {
    const off = this.#session.connection.onStatus(listener);
    this.connect();
    return off;
  }
  onError(listener) {
    return this.#session.errorListeners.add(listener);
  }
  actor(type, id) {
    return new HandleCore(this.#session, type, String(id));
  }
  connect() {
    this.#session.connection.connect();
  }
  close() {
    this.#session.connection.close();
  }
};
function createClient(options) {
  return new ClientCore(options);
}
function connect(url, options = {}) {
  const client = createClient({ url, ...options });
  client.connect();
  return client;
}

// src/page.ts
async function gatewayUrl() {
  const origin = globalThis.location.origin.replace(/^http/, "ws");
  try {
    const response = await fetch("/zocket-config.json", { cache: "no-store" });
    return response.ok ? (await response.json()).url ?? origin : origin;
  } catch {
    return origin;
  }
}
export {
  CallTimeout,
  Disconnected,
  ZocketError,
  applyPatch,
  connect,
  createClient,
  gatewayUrl
};
