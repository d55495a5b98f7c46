/** When a client connects, when it gives up, and what a program sees of it. */

import assert from "node:assert/strict";
import test, { beforeEach, mock } from "node:test";

import { CallTimeout, createClient, Disconnected, ZocketError } from "../../../src/zocket/dev/static/zocket.js";
import { FakeSocket } from "./fake-socket.js";
import { rejects, ROOM, settle, startOpen } from "./harness.js";

beforeEach(() => {
  FakeSocket.forget();
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
});

const OPTIONS = { url: "ws://server:1234", WebSocket: FakeSocket, random: () => 0 };

for (const [name, use] of [
  ["a call", (room) => void room.post({ text: "hi" }).catch(() => {})],
  ["a state listener", (room) => room.state.subscribe(() => {})],
  ["an event listener", (room) => room.on("posted", () => {})],
  ["a status listener", (_, client) => client.onStatus(() => {})],
  ["being told to", (_, client) => client.connect()],
]) {
  test(`${name} connects, once`, async () => {
    const client = createClient(OPTIONS);
    const room = client.chat("general");
    client.onError(() => {});
    assert.equal(room.state.getSnapshot(), undefined);
    assert.deepEqual([FakeSocket.made.length, client.status], [0, "connecting"]);
    use(room, client);
    use(room, client);
    await settle();
    assert.equal(FakeSocket.made.length, 1);
  });
}

test("a client may be made where there is no WebSocket and no page, as long as nobody asks anything of it", async (context) => {
  const { WebSocket } = globalThis;
  globalThis.WebSocket = undefined;
  context.after(() => (globalThis.WebSocket = WebSocket));
  const client = createClient({ url: "ws://server/" });
  await assert.rejects(client.chat("general").post({}), /no WebSocket here/);
  const onPage = createClient({ url: "/path" });
  await assert.rejects(onPage.chat("general").post({}), { code: "ERR_INVALID_URL" });
});

test("actors are names of the client, and those that are taken go by actor()", async () => {
  const { client, socket } = startOpen();
  client.chat("general").post({ text: "hi" }).catch(() => {});
  client.actor("status", "main").report().catch(() => {});
  await settle();
  const [first, second] = socket.take();
  assert.deepEqual([first.actor, first.actorId, first.method], ["chat", "general", "post"]);
  assert.deepEqual([second.actor, second.actorId, second.method], ["status", "main", "report"]);
  assert.equal(client.chat, client.chat);
  assert.equal(await client, client);
  assert.throws(() => (client.chat = 1), TypeError);
});

test("the parts of the client itself take no name from an actor or a method", async () => {
  const { client, socket } = startOpen();
  const names = ["start", "subscribe", "snapshot", "session", "connection", "method", "checked", "stream"];
  for (const name of names) client[name]("a")[name]().catch(() => {});
  await settle();
  assert.deepEqual(socket.take().map(({ actor, method }) => `${actor}.${method}`), names.map((name) => `${name}.${name}`));
});

test("errors tell by their class what a program does about them", async () => {
  const { room, socket } = startOpen({ rpcTimeoutMs: 500 });
  const late = assert.rejects(room.slow(), CallTimeout);
  await settle();
  mock.timers.tick(500);
  await late;
  const refused = assert.rejects(room.slow(), (error) => error instanceof CallTimeout && error.requestId === "r1");
  const dropped = assert.rejects(room.slow(), Disconnected);
  await settle();
  const [, { id }] = socket.take();
  socket.say({ type: "rpc:result", id, error: "too slow", code: "timeout", requestId: "r1" });
  socket.drop();
  await Promise.all([refused, dropped]);
  assert.ok(new CallTimeout("late") instanceof ZocketError && new Disconnected("away") instanceof ZocketError);
  assert.equal(`${new CallTimeout("late")}`, "CallTimeout: late");
});

test("a token that the server declares expired is not sent again", async () => {
  const { client, room, socket } = startOpen({ token: "old" });
  const heard = [];
  client.onError((error) => heard.push(error.code));
  const answer = room.post({ text: "hi" }, { idempotencyKey: true });
  await settle();
  socket.drop(4401);
  await rejects(answer, "closed");
  assert.deepEqual([client.status, heard], ["closed", ["unauthorized"]]);
  mock.timers.tick(10_000);
  assert.equal(FakeSocket.made.length, 1);
});

test("a function is asked for another token when the server declares one expired", async () => {
  let count = 0;
  const client = createClient({ ...OPTIONS, token: () => `t${++count}` });
  client.connect();
  await settle();
  FakeSocket.last.open();
  FakeSocket.last.drop(4401);
  mock.timers.tick(250);
  await settle();
  assert.equal(FakeSocket.last.url, "ws://server:1234/?token=t2");
});

test("a socket that an actor had closed is the last one", async () => {
  const { client, room, socket } = startOpen();
  const heard = [];
  client.onError((error) => heard.push(error.code));
  const answer = room.post({ text: "hi" }, { idempotencyKey: true });
  socket.say({ type: "error", ...ROOM, code: "kicked", message: "be nice" });
  socket.drop(4403);
  await rejects(answer, "closed");
  assert.deepEqual([client.status, heard], ["closed", ["kicked"]]);
  mock.timers.tick(10_000);
  assert.equal(FakeSocket.made.length, 1);
});

test("a socket that cannot be made is a failed attempt", (context) => {
  context.mock.method(console, "warn", () => {});
  let refusals = 2;
  class Blocked extends FakeSocket {
    constructor(url) {
      if (refusals-- > 0) throw new DOMException("blocked", "SecurityError");
      super(url);
    }
  }
  const client = createClient({ ...OPTIONS, WebSocket: Blocked });
  client.connect();
  assert.equal(client.status, "reconnecting");
  mock.timers.tick(250);
  mock.timers.tick(500);
  assert.equal(FakeSocket.made.length, 1);
});

test("what was asked before is on the wire when the status says open", async () => {
  const client = createClient(OPTIONS);
  const room = client.chat("general");
  room.state.subscribe(() => {});
  room.post({ text: "first" }).catch(() => {});
  client.onStatus(() => room.post({ text: "second" }).catch(() => {}));
  await settle();
  FakeSocket.last.open();
  await settle();
  assert.deepEqual(
    FakeSocket.last.take().map((frame) => frame.input?.text ?? frame.type),
    ["state:sub", "first", "second"],
  );
});

test("a patch that is none asks for a snapshot", () => {
  const { room, socket } = startOpen();
  room.state.subscribe(() => {});
  for (const patches of [null, [null], [{ op: "add" }], [{ op: "replace", path: 7, value: 1 }]]) {
    socket.say({ type: "state:snapshot", ...ROOM, state: {} });
    socket.take();
    socket.say({ type: "state:patch", ...ROOM, patches });
    assert.deepEqual(socket.take(), [{ type: "state:sub", ...ROOM, append: true }]);
  }
});
