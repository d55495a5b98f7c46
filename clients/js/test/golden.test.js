/**
 * Golden conversations (tests/integration/golden): the client says what an existing client says, and understands an
 * existing server, which knows none of our additions.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test, { beforeEach, mock } from "node:test";

import { connect } from "../../../src/zocket/dev/static/zocket.js";
import { FakeSocket } from "./fake-socket.js";
import { settle } from "./harness.js";

const GOLDEN = new URL("../../../tests/integration/golden/", import.meta.url);
/** What ours may say besides. */
const ADDITIONS = JSON.parse(readFileSync(new URL("additions.json", GOLDEN), "utf8"));
/** Those whose frames a client of ours says, too: one at a time, and none that is broken. */
const NAMES = ["calls", "disconnect", "events", "state", "two-actors", "unknown-actor"];

const linesOf = (name) => {
  const [, ...lines] = readFileSync(new URL(`scenarios/${name}.jsonl`, GOLDEN), "utf8").trim().split("\n").map((line) => JSON.parse(line));
  return lines.filter(({ from }) => from === "client" || from === "server");
};

/** One client, which does what makes it say the recorded frames. */
class Player {
  ids = new Map();
  calls = new Map();
  offs = new Map();
  heard = [];
  /** What patches have made of the state of each instance. */
  states = new Map();

  constructor() {
    this.client = connect("ws://server:1234", { WebSocket: FakeSocket, random: () => 0 });
    this.socket = FakeSocket.last;
    this.socket.open();
  }

  async says(frame) {
    const key = `${frame.type.replace("unsub", "sub")} ${frame.actor}/${frame.actorId}`;
    if (frame.type.endsWith(":sub") && this.offs.has(key)) return; // what is shared is asked for once
    this.#do(frame, key);
    await settle();
    const [said, ...more] = this.socket.take();
    assert.deepEqual(more, []);
    for (const { kind, of, name } of ADDITIONS) if (kind === "field" && of === said.type) delete said[name];
    if (frame.type === "rpc") this.ids.set(frame.id, said.id);
    assert.deepEqual(said, frame.type === "rpc" ? { ...frame, id: said.id } : frame);
  }

  #do(frame, key) {
    const handle = this.client.actor(frame.actor, frame.actorId);
    if (frame.type === "rpc") {
      const call = "input" in frame ? handle[frame.method](frame.input) : handle[frame.method]();
      this.calls.set(frame.id, call.then((result) => ({ result }), ({ message }) => ({ error: message })));
    } else if (frame.type === "state:sub") {
      this.offs.set(key, handle.state.subscribe((state) => this.heard.push({ state })));
    } else if (frame.type === "event:sub") {
      this.offs.set(key, handle.on("newMessage", (payload) => this.heard.push({ payload })));
    } else {
      this.offs.get(key)();
      this.offs.delete(key);
    }
  }

  async hears(frame) {
    this.socket.say("id" in frame ? { ...frame, id: this.ids.get(frame.id) } : frame);
    await settle();
    switch (frame.type) {
      case "rpc:result": {
        const { id, type, ...answer } = frame;
        assert.deepEqual(await this.calls.get(id), "error" in answer ? answer : { result: answer.result });
        this.calls.delete(id);
        break;
      }
      case "event":
        assert.deepEqual(this.heard.splice(0), [{ payload: frame.payload }]);
        break;
      case "state:snapshot":
        assert.deepEqual(this.states.get(frame.actorId) ?? frame.state, frame.state, "the patches led here");
        assert.deepEqual(this.heard.splice(0), [{ state: frame.state }]);
        break;
      case "state:patch": {
        const [{ state }, ...more] = this.heard.splice(0);
        assert.deepEqual(more, []);
        this.states.set(frame.actorId, state);
      }
    }
    assert.deepEqual(this.socket.take(), []);
  }
}

beforeEach(() => {
  FakeSocket.forget();
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
});

for (const name of NAMES) {
  test(`the conversation ${name} with an existing server`, async () => {
    const players = new Map();
    for (const { from, socket, frame, close } of linesOf(name)) {
      if (!players.has(socket)) players.set(socket, new Player());
      const player = players.get(socket);
      if (frame === undefined) {
        if (close !== undefined) {
          assert.deepEqual([...player.calls.keys()], []);
          player.client.close();
        }
      } else if (from === "client") await player.says(frame);
      else await player.hears(frame);
    }
  });
}
