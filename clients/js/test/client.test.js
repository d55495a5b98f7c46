import assert from "node:assert/strict";
import test, { beforeEach, describe, mock } from "node:test";

import { connect, gatewayUrl } from "../../../src/zocket/dev/static/zocket.js";
import { FakeSocket } from "./fake-socket.js";
import { rejects, ROOM, settle, start, startOpen } from "./harness.js";

beforeEach(() => {
  FakeSocket.forget();
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
});

describe("calls", () => {
  test("a call is one rpc frame and resolves with its result", async () => {
    const { room, socket } = startOpen();
    const answer = room.post({ text: "hi" });
    await settle();
    const [frame] = socket.take();
    assert.deepEqual(frame, { type: "rpc", id: frame.id, ...ROOM, method: "post", input: { text: "hi" } });
    socket.say({ type: "rpc:result", id: frame.id, result: { text: "hi" } });
    assert.deepEqual(await answer, { text: "hi" });
  });

  test("answers find their calls in any order, and a void method gives undefined", async () => {
    const { room, socket } = startOpen();
    const answers = [room.first(), room.second(), room.third()];
    await settle();
    const [first, second, third] = socket.take();
    assert.equal("input" in first, false);
    socket.say({ type: "rpc:result", id: third.id, result: null });
    socket.say({ type: "rpc:result", id: first.id, result: 1 });
    socket.say({ type: "rpc:result", id: second.id });
    assert.deepEqual(await Promise.all(answers), [1, undefined, null]);
  });

  test("an error carries message, code, request id and data", async () => {
    const { room, socket } = startOpen();
    const answer = room.post({ text: "" });
    await settle();
    const [{ id }] = socket.take();
    socket.say({ type: "rpc:result", id, error: "too loud", code: "rude", requestId: "r1", data: { limit: 3 } });
    await assert.rejects(answer, { name: "ZocketError", message: "too loud", code: "rude", requestId: "r1", data: { limit: 3 } });
  });

  test("an error of a server that sends no codes has the code error", async () => {
    const { room, socket } = startOpen();
    const answer = room.nothing();
    await settle();
    socket.say({ type: "rpc:result", id: socket.take()[0].id, error: "Unknown method: nothing" });
    await rejects(answer, "error", /Unknown method: nothing/);
  });

  test("a call waits for the connection, then is sent once", async () => {
    const { room, socket } = start();
    const answer = room.post({ text: "early" });
    await settle();
    assert.deepEqual(socket.take(), []);
    socket.open();
    const [frame, ...others] = socket.take();
    assert.deepEqual([frame.input, others], [{ text: "early" }, []]);
    socket.say({ type: "rpc:result", id: frame.id, result: 1 });
    assert.equal(await answer, 1);
  });

  test("the time limit covers waiting for the connection", async () => {
    const { room } = start();
    const answer = room.post({ text: "hi" });
    mock.timers.tick(9_999);
    const late = rejects(answer, "timeout", /chat\.post: there was no connection within 10 s/);
    mock.timers.tick(1);
    await late;
  });

  test("the time limit covers the answer, and a later answer is ignored", async () => {
    const { room, socket } = startOpen({ rpcTimeoutMs: 500 });
    const answer = room.post({ text: "hi" });
    await settle();
    mock.timers.tick(500);
    await rejects(answer, "timeout", /no answer came within 0.5 s/);
    socket.say({ type: "rpc:result", id: socket.take()[0].id, result: "late" });
  });

  test("a call that ran into its limit while it waited is never sent", async () => {
    const { room, socket } = start({ connectTimeoutMs: 60_000 });
    const answer = room.post({ text: "hi" });
    await settle();
    mock.timers.tick(10_000);
    await rejects(answer, "timeout");
    socket.open();
    assert.deepEqual(socket.take(), []);
  });

  test("two inputs are refused before anything is sent", async () => {
    const { room, socket } = startOpen();
    await assert.rejects(room.post("a", "b"), TypeError);
    await assert.rejects(room.post({ a: 1 }, { b: 2 }), /no option of a call: b/);
    await assert.rejects(room.post({ a: 1 }, {}, {}), TypeError);
    assert.deepEqual(socket.take(), []);
  });

  test("a call may have a time limit of its own", async () => {
    const { room } = startOpen();
    const answer = room.post({ text: "hi" }, { timeoutMs: 200 });
    await settle();
    mock.timers.tick(200);
    await rejects(answer, "timeout", /no answer came within 0.2 s/);
  });
});

describe("calls with an idempotency key", () => {
  test("the key is in the frame, and true makes another one for each call", async () => {
    const { room, socket } = startOpen();
    for (const idempotencyKey of ["order-17", true, true]) room.pay({ sum: 1 }, { idempotencyKey }).catch(() => {});
    await settle();
    const keys = socket.take().map((frame) => frame.idempotencyKey);
    assert.equal(keys[0], "order-17");
    assert.match(keys[1], /^[!-~]{20,128}$/);
    assert.notEqual(keys[1], keys[2]);
  });

  test("a dropped socket sends them again in their order, and rejects only the others", async () => {
    const { room, socket } = startOpen();
    const first = room.pay({ sum: 1 }, { idempotencyKey: "a" });
    const other = rejects(room.pay({ sum: 2 }), "disconnected");
    const second = room.call("pay", { sum: 3 }, { idempotencyKey: "b" });
    await settle();
    const sent = socket.take();
    socket.drop();
    await other;
    mock.timers.tick(250);
    FakeSocket.last.open();
    const again = FakeSocket.last.take();
    assert.deepEqual(again, [sent[0], sent[2]]);
    for (const { id, input } of again) FakeSocket.last.say({ type: "rpc:result", id, result: input.sum });
    assert.deepEqual(await Promise.all([first, second]), [1, 3]);
  });

  test("what passes is tried again after a growing delay, until the time limit", async () => {
    const { room, socket } = startOpen({ random: () => 1 });
    const answer = room.pay({ sum: 1 }, { idempotencyKey: "a", timeoutMs: 1_000 });
    await settle();
    for (const [code, delayMs] of [["overloaded", 250], ["unavailable", 500]]) {
      const [{ id }] = socket.take();
      socket.say({ type: "rpc:result", id, error: "not now", code });
      mock.timers.tick(delayMs - 1);
      assert.deepEqual(socket.take(), []);
      mock.timers.tick(1);
    }
    const [{ id }] = socket.take();
    socket.say({ type: "rpc:result", id, error: "not now", code: "overloaded" });
    mock.timers.tick(250);
    await rejects(answer, "timeout");
    mock.timers.tick(10_000);
    assert.deepEqual(socket.take(), []);
  });

  test("any other error is the answer, and without a key nothing is tried again", async () => {
    const { room, socket } = startOpen({ random: () => 1 });
    const keyed = room.pay({ sum: 1 }, { idempotencyKey: "a" });
    const plain = room.pay({ sum: 1 });
    await settle();
    const [first, second] = socket.take();
    socket.say({ type: "rpc:result", id: first.id, error: "other", code: "idempotency_mismatch" });
    socket.say({ type: "rpc:result", id: second.id, error: "not now", code: "overloaded" });
    await rejects(keyed, "idempotency_mismatch");
    await rejects(plain, "overloaded");
  });

  test("a socket that drops during the delay neither sends twice nor too early", async () => {
    const { room, socket } = startOpen({ random: () => 1 });
    const answer = room.pay({ sum: 1 }, { idempotencyKey: "a" });
    await settle();
    for (const delayMs of [250, 500, 0]) {
      socket.say({ type: "rpc:result", id: socket.take()[0].id, error: "not now", code: "overloaded" });
      mock.timers.tick(delayMs);
    }
    socket.drop();
    mock.timers.tick(500);
    FakeSocket.last.open();
    assert.deepEqual(FakeSocket.last.take(), []);
    mock.timers.tick(500);
    const [frame, ...others] = FakeSocket.last.take();
    assert.deepEqual(others, []);
    FakeSocket.last.say({ type: "rpc:result", id: frame.id, result: "once" });
    assert.equal(await answer, "once");
  });

  test("closing the client rejects them", async () => {
    const { client, room } = startOpen();
    const answer = room.pay({ sum: 1 }, { idempotencyKey: "a" });
    await settle();
    client.close();
    await rejects(answer, "closed");
  });
});

describe("handles", () => {
  test("an awaited handle is the handle: it calls no method named then", async () => {
    const { room, socket } = startOpen();
    assert.equal(await room, room);
    assert.equal(`${room}`, "chat/general");
    assert.equal(JSON.stringify({ room }), '{"room":{"state":{}}}');
    assert.deepEqual(socket.take(), []);
  });

  test("a method is the same function every time, so it can be passed on", () => {
    const { room } = startOpen();
    assert.equal(room.post, room.post);
  });

  test("a method whose name is taken is reached by call", async () => {
    const { room, socket } = startOpen();
    room.call("on", { light: 1 }).catch(() => {});
    await settle();
    assert.deepEqual(socket.take()[0].method, "on");
  });

  test("assigning to a handle is an error", () => {
    const { room } = startOpen();
    assert.throws(() => (room.title = "x"), /chat\/general\.title cannot be assigned/);
  });
});

describe("events", () => {
  test("the first listener subscribes, the last one unsubscribes", () => {
    const { client, room, socket } = startOpen();
    const off = room.on("posted", () => {});
    const offOther = client.actor("chat", "general").on("typing", () => {});
    assert.deepEqual(socket.take(), [{ type: "event:sub", ...ROOM }]);
    off();
    off();
    assert.deepEqual(socket.take(), []);
    offOther();
    assert.deepEqual(socket.take(), [{ type: "event:unsub", ...ROOM }]);
    room.on("posted", () => {});
    assert.deepEqual(socket.take(), [{ type: "event:sub", ...ROOM }]);
  });

  test("the same function may listen twice, and each end counts once", () => {
    const { room, socket } = startOpen();
    const heard = [];
    const listener = (payload) => heard.push(payload);
    const off = room.on("posted", listener);
    room.on("posted", listener);
    off();
    off();
    socket.say({ type: "event", ...ROOM, event: "posted", payload: 1 });
    assert.deepEqual(heard, [1]);
  });

  test("an event reaches the listeners of its name and instance only", () => {
    const { client, room, socket } = startOpen();
    const heard = [];
    room.on("posted", (payload) => heard.push(payload));
    room.on("typing", () => heard.push("wrong event"));
    client.actor("chat", "other").on("posted", () => heard.push("wrong instance"));
    socket.say({ type: "event", ...ROOM, event: "posted", payload: { text: "hi" } });
    socket.say({ type: "event", actor: "chat", actorId: "unknown", event: "posted", payload: 0 });
    assert.deepEqual(heard, [{ text: "hi" }]);
  });

  test("a listener that throws is reported and stops no other", async () => {
    const { room, socket } = startOpen();
    const heard = [];
    const reported = new Promise((resolve) => {
      const others = process.listeners("uncaughtException");
      process.removeAllListeners("uncaughtException");
      process.once("uncaughtException", (error) => {
        for (const other of others) process.on("uncaughtException", other);
        resolve(error);
      });
    });
    room.on("posted", () => {
      throw new Error("mine");
    });
    room.on("posted", (payload) => heard.push(payload));
    socket.say({ type: "event", ...ROOM, event: "posted", payload: 1 });
    assert.deepEqual(heard, [1]);
    assert.equal((await reported).message, "mine");
  });

  test("a listener that another one removed is not called", () => {
    const { room, socket } = startOpen();
    const heard = [];
    room.on("posted", () => off());
    const off = room.on("posted", () => heard.push("removed"));
    socket.say({ type: "event", ...ROOM, event: "posted", payload: 1 });
    assert.deepEqual(heard, []);
  });
});

describe("state", () => {
  test("a snapshot, then patches, each a new object that shares the rest", () => {
    const { room, socket } = startOpen();
    const seen = [];
    room.state.subscribe((state) => seen.push(state));
    assert.deepEqual(socket.take(), [{ type: "state:sub", ...ROOM, append: true }]);
    assert.equal(room.state.getSnapshot(), undefined);
    socket.say({ type: "state:snapshot", ...ROOM, state: { messages: [], online: { a: 1 } } });
    socket.say({ type: "state:patch", ...ROOM, patches: [{ op: "add", path: "/messages/0", value: "hi" }] });
    assert.deepEqual(seen, [
      { messages: [], online: { a: 1 } },
      { messages: ["hi"], online: { a: 1 } },
    ]);
    assert.equal(seen[0].online, seen[1].online);
    assert.equal(room.state.getSnapshot(), seen[1]);
  });

  test("subscriptions are counted over all handles of one instance", () => {
    const { client, room, socket } = startOpen();
    const off = room.state.subscribe(() => {});
    const offOther = client.actor("chat", "general").state.subscribe(() => {});
    off();
    assert.deepEqual(socket.take(), [{ type: "state:sub", ...ROOM, append: true }]);
    socket.say({ type: "state:snapshot", ...ROOM, state: 1 });
    assert.equal(room.state.getSnapshot(), 1);
    offOther();
    assert.deepEqual(socket.take(), [{ type: "state:unsub", ...ROOM }]);
    assert.equal(room.state.getSnapshot(), undefined, "nobody keeps it fresh any more");
  });

  test("a text that grows is sent by what was added, to a client that says so", () => {
    const { room, socket } = startOpen();
    room.state.subscribe(() => {});
    assert.equal(socket.take()[0].append, true);
    socket.say({ type: "state:snapshot", ...ROOM, state: { text: "one", other: [] } });
    const before = room.state.getSnapshot();
    socket.say({ type: "state:patch", ...ROOM, patches: [{ op: "append", path: "/text", value: " two" }] });
    assert.deepEqual(room.state.getSnapshot(), { text: "one two", other: [] });
    assert.equal(room.state.getSnapshot().other, before.other);
    socket.say({ type: "state:patch", ...ROOM, patches: [{ op: "append", path: "/other", value: "!" }] });
    assert.deepEqual(socket.take(), [{ type: "state:sub", ...ROOM, append: true }], "it does not fit");
  });

  test("a patch without its snapshot is ignored", () => {
    const { room, socket } = startOpen();
    const seen = [];
    room.state.subscribe((state) => seen.push(state));
    socket.say({ type: "state:patch", ...ROOM, patches: [{ op: "replace", path: "", value: 1 }] });
    assert.deepEqual(seen, []);
  });

  test("a patch that does not fit asks for a snapshot, and patches wait for it", () => {
    const { room, socket } = startOpen();
    const seen = [];
    room.state.subscribe((state) => seen.push(state));
    socket.say({ type: "state:snapshot", ...ROOM, state: { n: 1 } });
    socket.take();
    socket.say({ type: "state:patch", ...ROOM, patches: [{ op: "replace", path: "/gone/n", value: 2 }] });
    assert.deepEqual(socket.take(), [{ type: "state:sub", ...ROOM, append: true }]);
    socket.say({ type: "state:patch", ...ROOM, patches: [{ op: "replace", path: "/n", value: 3 }] });
    socket.say({ type: "state:snapshot", ...ROOM, state: { n: 4 } });
    assert.deepEqual(seen, [{ n: 1 }, { n: 4 }]);
  });

  test("a snapshot that nobody asked for replaces the state", () => {
    const { room, socket } = startOpen();
    room.state.subscribe(() => {});
    socket.say({ type: "state:snapshot", ...ROOM, state: { n: 9 } });
    socket.say({ type: "state:snapshot", ...ROOM, state: { n: 0 } });
    assert.deepEqual(room.state.getSnapshot(), { n: 0 });
  });

  test("one client's state and events of one instance are independent", () => {
    const { room, socket } = startOpen();
    const offState = room.state.subscribe(() => {});
    room.on("posted", () => {});
    offState();
    assert.deepEqual(
      socket.take().map((frame) => frame.type),
      ["state:sub", "event:sub", "state:unsub"],
    );
  });
});

describe("connection", () => {
  test("status goes from connecting to open to reconnecting and back, then closed", () => {
    const { client, socket } = start();
    const seen = [];
    client.onStatus((status) => seen.push(status));
    assert.equal(client.status, "connecting");
    socket.open();
    socket.drop();
    mock.timers.tick(250);
    FakeSocket.last.open();
    client.close();
    assert.deepEqual(seen, ["open", "reconnecting", "open", "closed"]);
  });

  test("the session's id is the newest welcome's", () => {
    const { client, socket } = startOpen();
    socket.say({ type: "welcome", clientId: "s1" });
    assert.equal(client.id, "s1");
  });

  test("when the socket drops, sent calls are rejected and never sent again", async () => {
    const { room, socket } = startOpen();
    const answer = room.post({ text: "hi" });
    await settle();
    assert.equal(socket.take().length, 1);
    socket.drop();
    await rejects(answer, "disconnected");
    mock.timers.tick(250);
    FakeSocket.last.open();
    assert.deepEqual(FakeSocket.last.take(), []);
  });

  test("a call made while reconnecting is sent on the new socket", async () => {
    const { room, socket } = startOpen();
    socket.drop();
    room.post({ text: "later" }).catch(() => {});
    await settle();
    mock.timers.tick(250);
    FakeSocket.last.drop(); // one more failure: the call has not been sent, so it goes on waiting
    mock.timers.tick(500);
    FakeSocket.last.open();
    assert.deepEqual(FakeSocket.last.take().map((frame) => frame.input), [{ text: "later" }]);
  });

  test("subscriptions are sent again after a reconnect, and only those that are left", () => {
    const { client, room, socket } = startOpen();
    room.state.subscribe(() => {});
    room.on("posted", () => {});
    client.actor("chat", "left").on("posted", () => {})();
    socket.say({ type: "state:snapshot", ...ROOM, state: { n: 1 } });
    socket.drop();
    assert.deepEqual(room.state.getSnapshot(), { n: 1 }, "the last known state stays while the connection is away");
    mock.timers.tick(250);
    FakeSocket.last.open();
    assert.deepEqual(FakeSocket.last.take(), [
      { type: "event:sub", ...ROOM },
      { type: "state:sub", ...ROOM, append: true },
    ]);
    FakeSocket.last.say({ type: "state:patch", ...ROOM, patches: [{ op: "replace", path: "/n", value: 5 }] });
    assert.deepEqual(room.state.getSnapshot(), { n: 1 }, "a patch before the new snapshot has nothing to apply to");
    FakeSocket.last.say({ type: "state:snapshot", ...ROOM, state: { n: 7 } });
    assert.deepEqual(room.state.getSnapshot(), { n: 7 });
  });

  test("what is subscribed before the connection is sent when it opens", () => {
    const { room, socket } = start();
    room.state.subscribe(() => {});
    assert.deepEqual(socket.take(), []);
    socket.open();
    assert.deepEqual(socket.take(), [{ type: "state:sub", ...ROOM, append: true }]);
  });

  for (const [random, delays] of [
    [0, [250, 500, 1000, 1000]],
    [0.999, [499, 999, 1999, 1999]],
  ]) {
    test(`delays double from 250 ms to 2 s with jitter ${random}`, () => {
      start({ random: () => random });
      for (const delay of delays) {
        const attempts = FakeSocket.made.length;
        FakeSocket.last.drop();
        mock.timers.tick(delay - 1);
        assert.equal(FakeSocket.made.length, attempts, `before ${delay} ms`);
        mock.timers.tick(2);
        assert.equal(FakeSocket.made.length, attempts + 1, `after ${delay} ms`);
      }
    });
  }

  test("a connection that held starts the delays anew, one that did not goes on", () => {
    start();
    FakeSocket.last.drop();
    mock.timers.tick(250);
    FakeSocket.last.open();
    FakeSocket.last.drop(); // at once: the next delay is 500 ms
    mock.timers.tick(250);
    assert.equal(FakeSocket.made.length, 2);
    mock.timers.tick(250);
    assert.equal(FakeSocket.made.length, 3);
    FakeSocket.last.open();
    mock.timers.tick(2_000);
    FakeSocket.last.drop();
    mock.timers.tick(250);
    assert.equal(FakeSocket.made.length, 4);
  });

  test("a socket that does not open within the limit is given up", () => {
    const { socket } = start({ connectTimeoutMs: 3_000 });
    mock.timers.tick(3_000);
    assert.equal(socket.closed, true);
    mock.timers.tick(250);
    assert.equal(FakeSocket.made.length, 2);
  });

  test("a socket that was given up is not heard any more", () => {
    const { client, socket } = start({ connectTimeoutMs: 3_000 });
    mock.timers.tick(3_000);
    mock.timers.tick(250);
    socket.open();
    socket.drop();
    socket.say({ type: "welcome", clientId: "old" });
    assert.equal(client.status, "reconnecting");
    assert.equal(client.id, undefined);
    assert.equal(FakeSocket.made.length, 2);
  });

  test("without reconnect the first lost socket closes the client", async () => {
    const { client, room, socket } = startOpen({ reconnect: false });
    socket.drop();
    assert.equal(client.status, "closed");
    await rejects(room.post(), "closed");
    mock.timers.tick(10_000);
    assert.equal(FakeSocket.made.length, 1);
  });

  test("closing rejects what is open and forgets the subscriptions", async () => {
    const { client, room, socket } = startOpen();
    room.on("posted", () => assert.fail("heard after close"));
    const answer = room.post();
    await settle();
    client.close();
    client.close();
    await rejects(answer, "closed");
    assert.equal(socket.closed, true);
    socket.say({ type: "event", ...ROOM, event: "posted", payload: 1 });
    socket.drop();
    mock.timers.tick(10_000);
    assert.equal(FakeSocket.made.length, 1);
    assert.throws(() => room.on("posted", () => {}), { code: "closed" });
  });

  test("closing while it waits for the next attempt makes no further socket", () => {
    const { client, socket } = startOpen();
    socket.drop();
    client.close();
    mock.timers.tick(10_000);
    assert.equal(FakeSocket.made.length, 1);
  });

  test("unknown frames, unknown fields and broken text are ignored", async () => {
    const { room, socket } = startOpen();
    for (const noise of ["{", "null", "7", "[]", '"x"', '{"type":"new:thing"}', "{}"]) socket.say(noise);
    socket.say({ type: "rpc:result", id: "never sent", result: 1 });
    const answer = room.post();
    await settle();
    socket.say({ type: "rpc:result", id: socket.take()[0].id, result: 1, seq: 9, epoch: "e" });
    assert.equal(await answer, 1);
  });

  test("an error frame reaches the error listeners", () => {
    const { client, socket } = startOpen();
    const heard = [];
    const off = client.onError((error) => heard.push(error));
    socket.say({ type: "error", code: "overloaded", message: "try later", requestId: "r2", ...ROOM });
    off();
    assert.deepEqual(
      heard.map(({ message, code, requestId }) => ({ message, code, requestId })),
      [{ message: "try later", code: "overloaded", requestId: "r2" }],
    );
  });

  test("a kick ends the subscriptions to its instance, and no other", () => {
    const { client, room, socket } = startOpen();
    const heard = [];
    client.onError((error) => heard.push(error.code));
    const states = [];
    const stop = room.state.subscribe((state) => states.push(state));
    room.on("posted", () => {});
    client.chat("other").on("posted", () => {});
    socket.say({ type: "state:snapshot", ...ROOM, state: { n: 1 } });
    socket.say({ type: "error", code: "kicked", message: "be nice", ...ROOM });
    socket.say({ type: "state:snapshot", ...ROOM, state: { n: 2 } });
    assert.deepEqual([heard, states, room.state.getSnapshot()], [["kicked"], [{ n: 1 }], undefined]);
    socket.drop();
    mock.timers.tick(250);
    FakeSocket.last.open();
    assert.deepEqual(FakeSocket.last.take(), [{ type: "event:sub", actor: "chat", actorId: "other" }]);
    const again = room.state.subscribe(() => {});
    stop(); // of the subscription that was ended: it leaves the new one alone
    assert.deepEqual(FakeSocket.last.take(), [{ type: "state:sub", ...ROOM, append: true }]);
    again();
    assert.deepEqual(FakeSocket.last.take(), [{ type: "state:unsub", ...ROOM }]);
  });

  test("an error frame that nobody listens for goes to the console", (context) => {
    const { socket } = startOpen();
    const logged = context.mock.method(console, "error", () => {});
    socket.say({ type: "error", code: "overloaded", message: "try later", requestId: "r2" });
    assert.equal(logged.mock.callCount(), 1);
  });
});

describe("address and token", () => {
  test("the token goes into the query and keeps what is there", () => {
    connect("wss://server/app?x=1", { WebSocket: FakeSocket, token: "a b" });
    assert.equal(FakeSocket.last.url, "wss://server/app?x=1&token=a+b");
  });

  test("metadata goes into the query as JSON, with every connection", () => {
    const metadata = { name: "Ada & Bob", colour: "red" };
    connect("ws://server/", { WebSocket: FakeSocket, random: () => 0, metadata }).onError(() => {});
    FakeSocket.last.open();
    FakeSocket.last.drop();
    mock.timers.tick(250);
    const sent = FakeSocket.made.map((socket) => JSON.parse(new URL(socket.url).searchParams.get("metadata")));
    assert.deepEqual(sent, [metadata, metadata]);
  });

  test("a token function is asked before every attempt", async () => {
    let count = 0;
    connect("ws://server/", { WebSocket: FakeSocket, random: () => 0, token: async () => `t${++count}` });
    await settle();
    assert.equal(FakeSocket.last.url, "ws://server/?token=t1");
    FakeSocket.last.drop();
    mock.timers.tick(250);
    await settle();
    assert.equal(FakeSocket.last.url, "ws://server/?token=t2");
  });

  test("a token function that fails is a failed attempt", async (context) => {
    context.mock.method(console, "warn", () => {});
    let count = 0;
    const token = async () => {
      if (++count === 1) throw new Error("signed out");
      return "t";
    };
    const client = connect("ws://server/", { WebSocket: FakeSocket, random: () => 0, token });
    await settle();
    assert.equal(client.status, "reconnecting");
    mock.timers.tick(250);
    await settle();
    assert.equal(FakeSocket.last.url, "ws://server/?token=t");
  });

  test("closing while the token is fetched opens no socket", async () => {
    const client = connect("ws://server/", { WebSocket: FakeSocket, token: async () => "t" });
    client.close();
    await settle();
    assert.equal(FakeSocket.made.length, 0);
  });

  test("http is taken as ws, and an address of another kind is refused", () => {
    connect("https://server/", { WebSocket: FakeSocket });
    assert.equal(FakeSocket.last.url, "wss://server/");
    assert.throws(() => connect("ftp://server/", { WebSocket: FakeSocket }), TypeError);
  });

  test("the gateway is where zocket-config.json says, else at the page's origin", async (context) => {
    globalThis.location = { origin: "https://page:8000", href: "https://page:8000/" };
    context.after(() => delete globalThis.location);
    const answers = [
      async () => new Response('{"url":"ws://gateway:3000"}'),
      async () => new Response("{}"),
      async () => new Response("none", { status: 404 }),
      async () => new Response("<html>"),
      async () => Promise.reject(new TypeError("no network")),
    ];
    const urls = [];
    for (const answer of answers) {
      context.mock.method(globalThis, "fetch", answer);
      urls.push(await gatewayUrl());
    }
    assert.deepEqual(urls, ["ws://gateway:3000", ...Array(4).fill("wss://page:8000")]);
  });
});

describe("versions", () => {
  const say = (socket, type, more) => socket.say({ type, ...ROOM, ...more });
  const patch = (socket, seq, value, epoch = "e") =>
    say(socket, "state:patch", { epoch, seq, patches: value === undefined ? [] : [{ op: "replace", path: "/n", value }] });

  function startWatching() {
    const started = startOpen();
    const seen = [];
    started.room.state.subscribe((state) => seen.push(state.n));
    say(started.socket, "state:snapshot", { state: { n: 0 }, epoch: "e", seq: 4 });
    started.socket.take();
    return { ...started, seen };
  }

  test("patches in order are applied, repeated ones are not", () => {
    const { socket, seen } = startWatching();
    patch(socket, 5, 1);
    patch(socket, 5, 99);
    patch(socket, 4, 99);
    patch(socket, 6, 2);
    assert.deepEqual(seen, [0, 1, 2]);
    assert.deepEqual(socket.take(), []);
  });

  test("a hole is asked for once, and filled", () => {
    const { socket, seen } = startWatching();
    patch(socket, 7, 99);
    patch(socket, 8, 99);
    assert.deepEqual(socket.take(), [{ type: "state:sub", ...ROOM, append: true, since: { epoch: "e", seq: 4 } }]);
    for (const seq of [5, 6, 7, 8]) patch(socket, seq, seq);
    assert.deepEqual(seen, [0, 5, 6, 7, 8]);
  });

  test("a new socket asks from the version on that is here", () => {
    const { socket, room, seen } = startWatching();
    patch(socket, 5, 1);
    socket.drop();
    mock.timers.tick(2000);
    const next = FakeSocket.last;
    next.open();
    assert.deepEqual(next.take(), [{ type: "state:sub", ...ROOM, append: true, since: { epoch: "e", seq: 5 } }]);
    patch(next, 5);
    patch(next, 6, 2);
    assert.deepEqual(seen, [0, 1, 2]);
    assert.deepEqual(room.state.getSnapshot(), { n: 2 });
  });

  test("another epoch asks for a snapshot, and nothing is applied before it", () => {
    const { socket, seen } = startWatching();
    patch(socket, 5, 99, "other");
    patch(socket, 6, 99, "other");
    assert.deepEqual(socket.take(), [{ type: "state:sub", ...ROOM, append: true }]);
    say(socket, "state:snapshot", { state: { n: 50 }, epoch: "other", seq: 6 });
    patch(socket, 7, 51, "other");
    assert.deepEqual(seen, [0, 50, 51]);
  });

  test("a server that numbers nothing is followed as before", () => {
    const { socket, room } = startOpen();
    const seen = [];
    room.state.subscribe((state) => seen.push(state.n));
    say(socket, "state:snapshot", { state: { n: 0 } });
    say(socket, "state:patch", { patches: [{ op: "replace", path: "/n", value: 1 }] });
    socket.take();
    socket.drop();
    mock.timers.tick(2000);
    FakeSocket.last.open();
    assert.deepEqual(FakeSocket.last.take(), [{ type: "state:sub", ...ROOM, append: true }]);
    assert.deepEqual(seen, [0, 1]);
  });
});
