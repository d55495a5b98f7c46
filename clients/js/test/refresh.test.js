/** Another token on an open connection. */

import assert from "node:assert/strict";
import test, { beforeEach, mock } from "node:test";

import { FakeSocket } from "./fake-socket.js";
import { settle, start } from "./harness.js";

const HOUR_MS = 3_600_000;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  FakeSocket.forget();
});

const welcome = (more) => ({
  type: "welcome",
  clientId: "c",
  features: ["auth:refresh"],
  expiresAt: Date.now() + HOUR_MS,
  ...more,
});

/** A client whose tokens are `t1`, `t2` …, on an open socket; the first token has an hour. */
async function startWelcome({ token, ...more } = {}) {
  let count = 0;
  const { client } = start({ token: token ?? (() => `t${++count}`) });
  await settle();
  const socket = FakeSocket.last;
  socket.open();
  socket.say(welcome(more));
  return { client, socket };
}

async function pass(ms) {
  mock.timers.tick(ms);
  await settle();
}

test("half of the time of a token is left when the server is given another one, then half of the next", async () => {
  const { socket } = await startWelcome();
  await pass(HOUR_MS / 2 - 1);
  assert.deepEqual(socket.take(), []);
  await pass(1);
  assert.deepEqual(socket.take(), [{ type: "auth:refresh", token: "t2" }]);
  socket.say({ type: "auth:refreshed", expiresAt: Date.now() + HOUR_MS });
  await pass(HOUR_MS / 2 - 1);
  assert.deepEqual(socket.take(), []);
  await pass(1);
  assert.deepEqual(socket.take(), [{ type: "auth:refresh", token: "t3" }]);
});

test("it is offered again at half of the rest until it is taken, and not with seconds left", async () => {
  const { socket } = await startWelcome({ expiresAt: Date.now() + 64_000 });
  for (const ms of [32_000, 16_000, 8_000, 4_000]) {
    await pass(ms);
    assert.equal(socket.take().length, 1, `after ${ms}`);
  }
  await pass(HOUR_MS);
  assert.deepEqual(socket.take(), []);
});

test("a token that could not be had is asked for again", async (context) => {
  const warned = context.mock.method(console, "warn", () => {});
  let count = 0;
  const token = async () => {
    count += 1;
    if (count === 2) throw new Error("no token today");
    return `t${count}`;
  };
  const { client, socket } = await startWelcome({ token });
  await pass(HOUR_MS / 2);
  assert.deepEqual([socket.take(), warned.mock.callCount(), client.status], [[], 1, "open"]);
  await pass(HOUR_MS / 4);
  assert.deepEqual(socket.take(), [{ type: "auth:refresh", token: "t3" }]);
});

const NEVER = {
  "a server that does not take it": { features: ["rpc:cancel"] },
  "a server that names no features": { features: undefined },
  "a fixed token": { token: "fixed" },
  "a token that does not expire": { expiresAt: undefined },
  "a token that has expired": { expiresAt: 1 },
  "a time that is none": { expiresAt: "soon" },
};
for (const [name, options] of Object.entries(NEVER)) {
  test(`nothing is offered: ${name}`, async () => {
    const { socket } = await startWelcome(options);
    await pass(HOUR_MS);
    assert.deepEqual(socket.take(), []);
  });
}

test("a token of years is offered in time, not at once", async () => {
  const { socket } = await startWelcome({ expiresAt: Date.now() + 10 * 365 * 24 * HOUR_MS });
  await pass(HOUR_MS);
  assert.deepEqual(socket.take(), []);
});

test("a connection that is gone is given nothing, and the next one its own", async () => {
  const { client, socket } = await startWelcome();
  await pass(HOUR_MS / 2 - 1);
  socket.drop(1012);
  await pass(250);
  const next = FakeSocket.last;
  assert.equal(next.url, "ws://server:1234/?token=t2");
  next.open();
  await pass(HOUR_MS);
  assert.deepEqual([socket.take(), next.take()], [[], []]);
  next.say(welcome());
  client.close();
  await pass(HOUR_MS);
  assert.deepEqual(next.take(), []);
});

test("a connection that drops while the token is asked for is followed by another", async () => {
  const given = [];
  start({ token: () => new Promise((resolve) => given.push(resolve)) });
  given[0]("t1");
  await settle();
  const first = FakeSocket.last;
  first.open();
  first.say(welcome());
  await pass(HOUR_MS / 2);
  first.drop(1006);
  given[1]("late");
  await pass(250);
  given[2]("t3");
  await settle();
  FakeSocket.last.open();
  assert.equal(FakeSocket.last.url, "ws://server:1234/?token=t3");
  assert.deepEqual([first.take(), FakeSocket.last.take()], [[], []]);
});
