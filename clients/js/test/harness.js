/** Clients on fake sockets. */

import assert from "node:assert/strict";

import { connect, ZocketError } from "../../../src/zocket/dev/static/zocket.js";
import { FakeSocket } from "./fake-socket.js";

export const ROOM = { actor: "chat", actorId: "general" };

/** A client on a fake socket; jitter is 0, so the delays are 250, 500, 1000, 1000 … ms. */
export function start(options = {}) {
  const client = connect("ws://server:1234", { WebSocket: FakeSocket, random: () => 0, ...options });
  return { client, room: client.actor("chat", "general"), socket: FakeSocket.last };
}

export function startOpen(options = {}) {
  const started = start(options);
  started.socket.open();
  return started;
}

/** Lets promises settle; timers stay where they are. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

export const rejects = (promise, code, message = /./) =>
  assert.rejects(promise, (error) => {
    assert.ok(error instanceof ZocketError);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });
