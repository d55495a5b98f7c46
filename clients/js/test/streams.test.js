/** Streams, against a server that follows a script. */

import assert from "node:assert/strict";
import test, { mock } from "node:test";

import WebSocket from "ws";

import { CallTimeout, createClient, Disconnected } from "../../../src/zocket/dev/static/zocket.js";
import { FakeSocket } from "./fake-socket.js";
import { settle, startOpen } from "./harness.js";
import { withServer } from "./scripted-server.js";

const WELCOME = { type: "welcome", clientId: "s1", features: ["rpc:cancel"] };

/** A test with a client and the server's end of its connection, which opens with the first frame. */
function scripted(name, body) {
  test(name, { timeout: 30_000 }, () =>
    withServer(async (url, connection) => {
      const client = createClient({ url, WebSocket });
      client.connect();
      try {
        await body({ client, agent: client.agent("a"), peer: await connection(), connection });
      } finally {
        client.close();
      }
    }),
  );
}

const chunk = (id, value) => ({ type: "rpc:stream", id, chunk: value });

scripted("the chunks come in their order, then the loop ends", async ({ agent, peer }) => {
  const words = [];
  const reading = (async () => {
    for await (const word of agent.summarize.stream({ words: 3 })) words.push(word);
  })();
  const { id, ...frame } = await peer.next();
  assert.deepEqual(frame, { type: "rpc", actor: "agent", actorId: "a", method: "summarize", input: { words: 3 } });
  peer.say(chunk(id, "one"), chunk(id, null), chunk("other", "wrong"), chunk(id, { two: 2 }), { type: "rpc:result", id });
  await reading;
  assert.deepEqual(words, ["one", null, { two: 2 }]);
});

scripted("the result is what the generator returns", async ({ agent, peer }) => {
  const stream = agent.summarize.stream();
  const first = stream.next();
  const { id } = await peer.next();
  peer.say(chunk(id, "one"), { type: "rpc:result", id, result: 1 });
  assert.deepEqual(await first, { value: "one", done: false });
  assert.deepEqual(await stream.next(), { value: 1, done: true });
});

scripted("nothing is sent before the first step", async ({ agent, peer }) => {
  const stream = agent.summarize.stream();
  agent.other().catch(() => {});
  assert.equal((await peer.next()).method, "other");
  await stream.return();
});

scripted("an error comes after the chunks before it", async ({ agent, peer }) => {
  const words = [];
  const reading = (async () => {
    for await (const word of agent.summarize.stream()) words.push(word);
  })();
  const { id } = await peer.next();
  peer.say(chunk(id, "one"), { type: "rpc:result", id, error: "no more words", code: "out_of_words" });
  await assert.rejects(reading, { message: "no more words", code: "out_of_words" });
  assert.deepEqual(words, ["one"]);
});

scripted("leaving the loop gives the call up, and the server is told", async ({ agent, peer }) => {
  peer.say(WELCOME);
  const reading = (async () => {
    for await (const word of agent.summarize.stream()) return word;
  })();
  const { id } = await peer.next();
  peer.say(chunk(id, "one"), chunk(id, "two"));
  assert.equal(await reading, "one");
  assert.deepEqual(await peer.next(), { type: "rpc:cancel", id });
});

scripted("an abort ends it at once, also with chunks that are not read", async ({ agent, peer }) => {
  peer.say(WELCOME);
  const controller = new AbortController();
  const words = [];
  const reading = (async () => {
    for await (const word of agent.summarize.stream({}, { signal: controller.signal })) {
      words.push(word);
      await last; // by then all three are here
      controller.abort();
    }
  })();
  const { id } = await peer.next();
  const last = agent.last();
  const { id: lastId } = await peer.next();
  peer.say(chunk(id, 1), chunk(id, 2), chunk(id, 3), { type: "rpc:result", id: lastId });
  await assert.rejects(reading, { name: "AbortError" });
  assert.deepEqual(words, [1]);
  assert.deepEqual(await peer.next(), { type: "rpc:cancel", id });
});

scripted("a lost connection ends it: a stream is not begun again", async ({ agent, peer, connection }) => {
  const reading = (async () => {
    for await (const _ of agent.summarize.stream()) peer.drop();
  })();
  const { id } = await peer.next();
  peer.say(chunk(id, 1));
  await assert.rejects(reading, Disconnected);
  const next = await connection();
  agent.other().catch(() => {});
  assert.equal((await next.next()).method, "other");
  assert.throws(() => agent.summarize.stream({}, { idempotencyKey: true }), TypeError);
});

const numbered = (id, seq) => ({ ...chunk(id, `word ${seq}`), seq });

for (const [name, seqs, frame, words] of [
  ["a chunk that is missing", [1, 3], undefined, ["word 1"]],
  ["a stream that begins anew", [1, 2, 1], undefined, ["word 1", "word 2"]],
  ["a last chunk that is missing", [1], { type: "rpc:result", seq: 2 }, ["word 1"]],
]) {
  scripted(`${name} ends the loop after the chunks before it`, async ({ agent, peer }) => {
    peer.say(WELCOME);
    const heard = [];
    const reading = (async () => {
      for await (const word of agent.summarize.stream()) heard.push(word);
    })();
    const { id } = await peer.next();
    peer.say(...seqs.map((seq) => numbered(id, seq)));
    if (frame !== undefined) peer.say({ id, ...frame });
    await assert.rejects(reading, (error) => error instanceof Disconnected && error.code === "disconnected");
    assert.deepEqual(heard, words);
    if (frame === undefined) assert.deepEqual(await peer.next(), { type: "rpc:cancel", id });
  });
}

scripted("a stream of which every chunk has come ends by itself", async ({ agent, peer }) => {
  const words = [];
  const reading = (async () => {
    for await (const word of agent.summarize.stream()) words.push(word);
  })();
  const { id } = await peer.next();
  peer.say(numbered(id, 1), numbered(id, 2), { type: "rpc:result", id, seq: 2 });
  await reading;
  assert.deepEqual(words, ["word 1", "word 2"]);
});

scripted("a plain call of a method that streams gives its result", async ({ agent, peer }) => {
  const answer = agent.summarize();
  const { id } = await peer.next();
  peer.say(chunk(id, "one"), { type: "rpc:result", id, result: "all" });
  assert.equal(await answer, "all");
});

test("the time limit is that between two chunks", async (context) => {
  context.after(() => mock.timers.reset());
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const { room, socket } = startOpen({ rpcTimeoutMs: 1_000 });
  const stream = room.summarize.stream({}, { timeoutMs: 400 });
  let step = stream.next();
  await settle();
  const [{ id }] = socket.take();
  for (let at = 0; at < 4; at += 1) {
    mock.timers.tick(399);
    socket.say(chunk(id, at));
    assert.deepEqual(await step, { value: at, done: false });
    step = stream.next();
  }
  mock.timers.tick(400);
  await assert.rejects(step, CallTimeout);
});

test("a reader that falls ten thousand chunks behind is told so, after those that came", async () => {
  FakeSocket.forget();
  const { room, client, socket } = startOpen();
  socket.say(WELCOME);
  const stream = room.summarize.stream();
  const first = stream.next();
  await settle();
  const [{ id }] = socket.take();
  socket.say(chunk(id, "first"));
  assert.equal((await first).value, "first");
  for (let at = 0; at < 10_000; at += 1) socket.say(chunk(id, at));
  assert.deepEqual(socket.take(), []);
  socket.say(chunk(id, 10_000));
  assert.deepEqual(socket.take(), [{ type: "rpc:cancel", id }]);
  let last;
  const reading = (async () => {
    for await (const value of stream) last = value;
  })();
  await assert.rejects(reading, { code: "overloaded" });
  assert.equal(last, 10_000);
  client.close();
});
