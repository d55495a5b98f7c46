/** The hooks, in a document without a browser and on fake sockets. */

import assert from "node:assert/strict";
import test, { afterEach, beforeEach } from "node:test";

import { Window } from "happy-dom";
import { createClient } from "zocket";
import { useActor, useActorState, useClient, useConnectionStatus, useEvent, ZocketProvider } from "zocket/react";

import { FakeSocket } from "./fake-socket.js";
import { ROOM } from "./harness.js";

const window = new Window();
Object.assign(globalThis, { window, document: window.document, IS_REACT_ACT_ENVIRONMENT: true });
globalThis.navigator ??= window.navigator;

const { act, createElement, StrictMode } = await import("react");
const { createRoot, hydrateRoot } = await import("react-dom/client");
const { renderToString } = await import("react-dom/server");

let client;
let container;
let root;

beforeEach(() => {
  FakeSocket.forget();
  client = createClient({ url: "ws://server/", WebSocket: FakeSocket, random: () => 0 });
  container = document.createElement("div");
  root = createRoot(container);
});

afterEach(async () => {
  await act(() => root.unmount());
  client.close();
});

const App = ({ children }) => createElement(StrictMode, {}, createElement(ZocketProvider, { client }, children));
const show = (component, props = {}) => act(() => root.render(createElement(App, {}, createElement(component, props))));
const socket = () => FakeSocket.last;
const say = (frame) => act(() => socket().say({ ...ROOM, ...frame }));
const snapshot = (state) => say({ type: "state:snapshot", state });
const replace = (path, value) => say({ type: "state:patch", patches: [{ op: "replace", path, value }] });
const types = () => socket().take().map(({ type }) => type);

function Count() {
  return useActorState(useActor("chat", "general"), ({ messages }) => messages.length) ?? "none yet";
}

async function showOpen(component, props) {
  await show(component, props);
  await act(() => socket().open());
}

test("a component shows the state as it comes, with one subscription under StrictMode", async () => {
  await showOpen(Count);
  assert.equal(container.textContent, "none yet");
  assert.deepEqual(types(), ["state:sub"]);
  await snapshot({ messages: ["a"] });
  assert.equal(container.textContent, "1");
  await replace("/messages", ["a", "b"]);
  assert.equal(container.textContent, "2");
  await show(() => null);
  assert.deepEqual(types(), ["state:unsub"]);
});

test("mounting on an open connection subscribes once, also under StrictMode", async () => {
  await showOpen(() => useConnectionStatus());
  assert.equal(container.textContent, "open");
  await show(Count);
  assert.deepEqual(types(), ["state:sub"]);
});

test("components share a subscription, and the last one ends it", async () => {
  const Two = ({ second }) => [createElement(Count, { key: 1 }), second && createElement(Count, { key: 2 })];
  await showOpen(Two, { second: true });
  await snapshot({ messages: [] });
  assert.equal(container.textContent, "00");
  await show(Two, { second: false });
  assert.deepEqual(types(), ["state:sub"]);
  await show(() => null);
  assert.deepEqual(types(), ["state:unsub"]);
});

test("a component that takes the place of another keeps the subscription", async () => {
  await showOpen(Count);
  await snapshot({ messages: ["a"] });
  await show(() => `again ${Count()}`);
  assert.equal(container.textContent, "again 1");
  assert.deepEqual(types(), ["state:sub"]);
});

test("only a changed selection renders again", async () => {
  let renders = 0;
  const Topic = () => {
    renders += 1;
    return useActorState(useActor("chat", "general"), ({ topic }) => topic);
  };
  await showOpen(Topic);
  await snapshot({ topic: "x", online: 1 });
  const before = renders;
  await replace("/online", 2);
  assert.equal(renders, before);
  await replace("/topic", "y");
  assert.equal(container.textContent, "y");
});

test("a selection that is equal stays the same object, also with functions made in every render", async () => {
  const seen = new Set();
  const Names = () => {
    const names = useActorState(
      useActor("chat", "general"),
      ({ people }) => people.map(({ name }) => name),
      (a, b) => a.join() === b.join(),
    );
    if (names !== undefined) seen.add(names);
    return names?.join() ?? "";
  };
  await showOpen(Names);
  await snapshot({ people: [{ name: "a" }] });
  const { size } = seen;
  await replace("/people", [{ name: "a", age: 3 }]);
  await show(Names);
  assert.equal(seen.size, size);
  await replace("/people/0/name", "b");
  assert.equal(container.textContent, "b");
});

test("without a selector it is the whole state", async () => {
  await showOpen(() => JSON.stringify(useActorState(useActor("chat", "general"))) ?? "");
  await snapshot({ n: 1 });
  assert.equal(container.textContent, '{"n":1}');
});

test("an event reaches the listener of the newest render, once", async () => {
  const heard = [];
  const Heard = ({ name }) => {
    useEvent(useActor("chat", "general"), "posted", (payload) => heard.push([name, payload]));
    return null;
  };
  await showOpen(Heard, { name: "first" });
  await show(Heard, { name: "second" });
  await say({ type: "event", event: "posted", payload: 1 });
  assert.deepEqual(heard, [["second", 1]]);
  assert.deepEqual(types(), ["event:sub"]);
});

test("another id is another instance: its state is not shown before it has come", async () => {
  const Text = ({ id }) => useActorState(useActor("chat", id), ({ text }) => text) ?? "none yet";
  await showOpen(Text, { id: "general" });
  await snapshot({ text: "a" });
  await show(Text, { id: "other" });
  assert.equal(container.textContent, "none yet");
  assert.deepEqual(socket().take().map(({ type, actorId }) => [type, actorId]), [
    ["state:sub", "general"],
    ["state:sub", "other"],
    ["state:unsub", "general"],
  ]);
});

test("the status is shown as it changes", async () => {
  await show(() => useConnectionStatus());
  assert.equal(container.textContent, "connecting");
  await act(() => socket().open());
  assert.equal(container.textContent, "open");
  await act(() => socket().drop());
  assert.equal(container.textContent, "reconnecting");
});

test("a handle stays the same while actor and id do", async () => {
  const handles = new Set();
  const Kept = ({ id }) => {
    handles.add(useActor("chat", id));
    return null;
  };
  await act(() => root.render(createElement(ZocketProvider, { client }, createElement(Kept, { id: "a" }))));
  await act(() => root.render(createElement(ZocketProvider, { client }, createElement(Kept, { id: "a" }))));
  assert.equal(handles.size, 1);
  await act(() => root.render(createElement(ZocketProvider, { client }, createElement(Kept, { id: "b" }))));
  assert.equal(handles.size, 2);
});

test("a server renders without connecting, and the page takes it over", async (context) => {
  const complaints = context.mock.method(console, "error", () => {});
  const Page = () => `${useConnectionStatus()} ${Count()}`;
  const page = createElement(App, {}, createElement(Page));
  const container = document.createElement("div");
  container.innerHTML = renderToString(page);
  assert.equal(container.textContent, "connecting none yet");
  assert.equal(FakeSocket.made.length, 0);
  const hydrated = await act(() => hydrateRoot(container, page));
  await act(() => socket().open());
  await snapshot({ messages: ["a"] });
  assert.equal(container.textContent, "open 1");
  await act(() => hydrated.unmount());
  assert.equal(complaints.mock.callCount(), 0, complaints.mock.calls[0]?.arguments.join(" "));
});

test("a hook without a provider says what is missing", () => {
  assert.throws(() => renderToString(createElement(() => useClient().status)), /no <ZocketProvider> above/);
});
