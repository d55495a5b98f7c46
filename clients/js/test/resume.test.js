/** The next connection goes on with the session of the lost one. */

import assert from "node:assert/strict";
import test, { beforeEach, mock } from "node:test";

import { FakeSocket } from "./fake-socket.js";
import { settle, startOpen } from "./harness.js";

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  FakeSocket.forget();
});

/** The socket that follows the lost one, and what it shows the server to go on with the session. */
async function next(socket) {
  socket.drop();
  mock.timers.tick(2_000);
  await settle();
  const followed = FakeSocket.last;
  assert.notEqual(followed, socket);
  return [followed, new URL(followed.url).searchParams.get("resume")];
}

test("what lets a session go on is shown to the server with the next connection, always the newest", async () => {
  const { client, socket } = startOpen();
  assert.equal(new URL(socket.url).searchParams.get("resume"), null);
  socket.say({ type: "welcome", clientId: "s1", resume: "a.token+1" });
  socket.say({ type: "welcome", clientId: "s1", resume: "a.token+2" });
  const [second, shown] = await next(socket);
  assert.equal(shown, "a.token+2");
  second.open();
  second.say({ type: "welcome", clientId: "s1", resume: "a.token+3" });
  assert.equal(client.id, "s1");
  assert.equal((await next(second))[1], "a.token+3");
});

test("a server that gives nothing to go on with is shown nothing", async () => {
  const { socket } = startOpen();
  socket.say({ type: "welcome", clientId: "s1", resume: "a.token" });
  const [second] = await next(socket);
  second.open();
  second.say({ type: "welcome", clientId: "s2" });
  assert.equal((await next(second))[1], null);
});
