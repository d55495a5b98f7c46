/** The client against a real server. */

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import WebSocket from "ws";

import { createClient } from "../../../src/zocket/dev/static/zocket.js";
import { serve } from "./serving.js";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const LIMIT = { timeout: 60_000 };
let server;
let rooms = 0;

before(async () => (server = await serve(HERE)));
after(() => server?.stop());

/** A socket that keeps what it sent and received. */
class Recorded extends WebSocket {
  sent = [];
  received = [];

  constructor(url) {
    super(url);
    this.addEventListener("message", ({ data }) => this.received.push(JSON.parse(data)));
  }

  send(text) {
    this.sent.push(JSON.parse(text));
    super.send(text);
  }
}

function started(context, options = {}) {
  const sockets = [];
  class Socket extends Recorded {
    constructor(url) {
      super(url);
      sockets.push(this);
    }
  }
  const client = createClient({ url: server.url, WebSocket: Socket, rpcTimeoutMs: 30_000, ...options });
  context.after(() => client.close());
  const id = `room-${++rooms}`;
  return { client, sockets, id, room: client.chat(id) };
}

/** Resolves with the first state of which the condition holds. */
const stateOf = (room, condition) =>
  new Promise((resolve) => {
    const look = (state) => condition(state) && (resolve(state), queueMicrotask(() => off()));
    const off = room.state.subscribe(look);
    const state = room.state.getSnapshot();
    if (state !== undefined) look(state);
  });

test("calls, events and states", LIMIT, async (context) => {
  const { room } = started(context, { token: async () => "alice" });
  const heard = [];
  const seen = [];
  room.on("posted", (message) => heard.push(message));
  room.state.subscribe((state) => seen.push(state));
  const hi = { author: "alice", text: "hi" };
  assert.deepEqual(await room.post({ text: "hi" }), hi);
  assert.deepEqual(heard, [hi], "the caller hears the event before the answer");
  assert.deepEqual(seen, [
    { messages: [], topic: null, draft: "" },
    { messages: [hi], topic: null, draft: "" },
  ]);
  assert.equal(await room.remove({ at: 0 }), undefined);
  assert.deepEqual(room.state.getSnapshot(), { messages: [], topic: null, draft: "" });
});

test("unchanged parts of a state stay the same objects", LIMIT, async (context) => {
  const { room } = started(context);
  room.state.subscribe(() => {});
  await room.post({ text: "a" });
  const before = room.state.getSnapshot();
  await room.post({ text: "b" });
  const after = room.state.getSnapshot();
  assert.deepEqual([before.messages.length, after.messages.length], [1, 2]);
  assert.equal(after.messages[0], before.messages[0]);
});

test("errors of the server", LIMIT, async (context) => {
  const { client, room } = started(context);
  await assert.rejects(room.fail(), (error) => {
    assert.deepEqual([error.message, error.code, error.data], ["too loud", "rude", { limit: 3 }]);
    assert.match(error.requestId, /\.\d+$/);
    return true;
  });
  await assert.rejects(room.post({ text: 1 }), { code: "validation_failed" });
  await assert.rejects(room.shout(), { code: "unknown_method", message: "Unknown method: shout" });
  await assert.rejects(client.lobby("main").open(), { code: "unknown_actor" });
});

test("a call with an idempotency key takes effect once", LIMIT, async (context) => {
  const { room } = started(context);
  const options = { idempotencyKey: "order-17" };
  assert.deepEqual(await room.post({ text: "hi" }, options), await room.post({ text: "hi" }, options));
  await assert.rejects(room.post({ text: "ho" }, options), { code: "idempotency_mismatch" });
  assert.equal((await stateOf(room, () => true)).messages.length, 1);
});

test("an actor sees the metadata, and has the socket closed for good", LIMIT, async (context) => {
  const { client, sockets, room } = started(context, { metadata: { name: "Ada & Bob" } });
  const heard = [];
  client.onError((error) => heard.push(error.code));
  const closed = new Promise((resolve) => client.onStatus((status) => status === "closed" && resolve()));
  room.state.subscribe(() => {});
  assert.deepEqual(await room.leave(), { name: "Ada & Bob" });
  await closed;
  assert.deepEqual([heard, sockets.length], [["kicked"], 1]);
});

test("an aborted call frees its caller", LIMIT, async (context) => {
  const { client, room } = started(context);
  const controller = new AbortController();
  const answer = room.sleep(undefined, { signal: controller.signal });
  await client.chat("another").post({ text: "the server has the first call too" });
  controller.abort();
  await assert.rejects(answer, { name: "AbortError" });
});

test("a text that grows costs what is added", LIMIT, async (context) => {
  const { sockets, room } = started(context);
  const words = Array.from({ length: 50 }, (_, number) => `word ${number} "ü😀"\n`);
  room.state.subscribe(() => {});
  await room.write({ words: ["x".repeat(1_000)] });
  await room.write({ words });
  const { draft } = await stateOf(room, ({ draft }) => draft.endsWith(words.at(-1)));
  assert.equal(draft, "x".repeat(1_000) + words.join(""));
  const grown = sockets[0].received.flatMap(({ patches = [] }) => patches).filter(({ op }) => op === "append");
  assert.deepEqual(grown.map(({ value }) => value), words);
});

test("the server takes another token before the first one expires", LIMIT, async (context) => {
  const expiries = [];
  const token = () => `alice@${expiries[expiries.push(Date.now() / 1_000 + 8) - 1]}`;
  const { client, sockets, room } = started(context, { token });
  await room.post({ text: "with the first token" });
  const { id } = client;
  const refreshed = () => sockets.at(-1).received.find(({ type }) => type === "auth:refreshed");
  while (refreshed() === undefined) await setTimeout(20);
  assert.equal(refreshed().expiresAt, Math.floor(expiries.at(-1) * 1_000));
  if (sockets.length === 1) assert.deepEqual([client.id, client.status, expiries.length], [id, "open", 2]);
});

test("a lost connection costs only the patches that were missed", LIMIT, async (context) => {
  const { client, sockets, room, id } = started(context);
  room.state.subscribe(() => {});
  await room.post({ text: "before" });
  const [before] = room.state.getSnapshot().messages;
  sockets[0].terminate();
  await started(context).client.chat(id).post({ text: "missed" });
  const state = await stateOf(room, ({ messages }) => messages.length === 2);
  assert.equal(state.messages[0], before);
  assert.equal(client.status, "open");
  const { sent, received } = sockets[1];
  assert.equal(sent.find(({ type }) => type === "state:sub").since.seq, 1);
  assert.ok(received.every(({ type }) => type !== "state:snapshot"));
});

test("a server that is killed and comes back is found, and forgotten state is seen", LIMIT, async (context) => {
  const { client, room } = started(context);
  const seen = [];
  client.onStatus((status) => seen.push(status));
  await room.post({ text: "before" });
  await stateOf(room, ({ messages }) => messages.length === 1);
  room.state.subscribe(() => {});
  const lost = assert.rejects(room.sleep(), { code: "disconnected" });
  const { port } = server;
  await server.stop();
  await lost;
  const kept = room.post({ text: "after" }, { idempotencyKey: true });
  server = await serve(HERE, port);
  await kept;
  const { messages } = await stateOf(room, (state) => state.messages.at(-1).text === "after");
  assert.deepEqual(messages.map(({ text }) => text), ["after"]);
  assert.deepEqual(seen, ["open", "reconnecting", "open"]);
});
