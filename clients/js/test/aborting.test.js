/** Calls with an AbortSignal. */

import assert from "node:assert/strict";
import test, { beforeEach, mock } from "node:test";

import { FakeSocket } from "./fake-socket.js";
import { settle, start, startOpen } from "./harness.js";

beforeEach(() => {
  FakeSocket.forget();
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
});

const WELCOME = { type: "welcome", clientId: "s1", features: ["rpc:cancel"] };

test("a signal that is aborted already sends nothing", async () => {
  const { room, socket } = startOpen();
  await assert.rejects(room.post({}, { signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.deepEqual(socket.take(), []);
});

test("an aborted call rejects at once with the signal's reason, and a later answer is ignored", async () => {
  const { room, socket } = startOpen();
  const controller = new AbortController();
  const answer = room.post({}, { signal: controller.signal });
  await settle();
  const [{ id }] = socket.take();
  controller.abort(new Error("the page was left"));
  await assert.rejects(answer, /the page was left/);
  socket.say({ type: "rpc:result", id, result: 1 });
  assert.deepEqual(socket.take(), [], "a server that has not said so is sent no rpc:cancel");
});

test("a server that takes it is sent rpc:cancel for a call that it has", async () => {
  const { room, socket } = startOpen();
  socket.say(WELCOME);
  const controller = new AbortController();
  const answer = room.post({}, { signal: controller.signal });
  await settle();
  const [{ id }] = socket.take();
  controller.abort();
  await assert.rejects(answer, { name: "AbortError" });
  assert.deepEqual(socket.take(), [{ type: "rpc:cancel", id }]);
});

test("a call that waits for a connection is never sent when it was aborted", async () => {
  const { room, socket } = start();
  const controller = new AbortController();
  const answer = room.post({}, { signal: controller.signal });
  await settle();
  controller.abort();
  await assert.rejects(answer, { name: "AbortError" });
  socket.open();
  socket.say(WELCOME);
  assert.deepEqual(socket.take(), []);
});

test("a call that waits for its next try is not sent again when it was aborted", async () => {
  const { room, socket } = startOpen({ random: () => 1 });
  socket.say(WELCOME);
  const controller = new AbortController();
  const answer = room.post({}, { signal: controller.signal, idempotencyKey: true });
  await settle();
  socket.say({ type: "rpc:result", id: socket.take()[0].id, error: "not now", code: "overloaded" });
  controller.abort();
  await assert.rejects(answer, { name: "AbortError" });
  mock.timers.tick(10_000);
  assert.deepEqual(socket.take(), []);
});

test("the next connection is not taken for one that takes rpc:cancel", async () => {
  const { room, socket } = startOpen();
  socket.say(WELCOME);
  socket.drop();
  mock.timers.tick(250);
  const next = FakeSocket.last;
  next.open();
  const controller = new AbortController();
  const answer = room.post({}, { signal: controller.signal });
  await settle();
  next.take();
  controller.abort();
  await assert.rejects(answer, { name: "AbortError" });
  assert.deepEqual(next.take(), []);
});

test("a call that is settled lets go of its signal", async () => {
  const { room, socket } = startOpen();
  socket.say(WELCOME);
  const controller = new AbortController();
  let listening = 0;
  const { addEventListener, removeEventListener } = controller.signal;
  controller.signal.addEventListener = (...args) => (listening++, addEventListener.apply(controller.signal, args));
  controller.signal.removeEventListener = (...args) => (listening--, removeEventListener.apply(controller.signal, args));
  const answer = room.post({}, { signal: controller.signal });
  await settle();
  assert.equal(listening, 1);
  socket.say({ type: "rpc:result", id: socket.take()[0].id, result: 1 });
  assert.equal(await answer, 1);
  assert.equal(listening, 0);
  controller.abort();
  assert.deepEqual(socket.take(), []);
});
