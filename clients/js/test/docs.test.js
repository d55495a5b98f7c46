/** The code of docs/javascript.md, run against the app of that page; `tsc -p test` has compiled it. */

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import test, { after, before } from "node:test";

import { build } from "esbuild";
import { Window } from "happy-dom";
import WebSocket from "ws";

import { SNIPPETS, writeSnippets } from "../scripts/snippets.mjs";
import { serve } from "./serving.js";

const ADDRESS = "ws://localhost:8000";
const RUNNABLE = await writeSnippets();
const window = new Window();
Object.assign(globalThis, { WebSocket, window, document: window.document, IS_REACT_ACT_ENVIRONMENT: true });
globalThis.navigator ??= window.navigator;
let server;

before(async () => (server = await serve(SNIPPETS)));
after(() => server?.stop());

/** Runs snippets as one module on the server, and gives what they export. */
async function run(code) {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: SNIPPETS, loader: "ts" },
    bundle: true,
    ignoreAnnotations: true, // "sideEffects": false is about the package, not about these files
    format: "esm",
    jsx: "automatic",
    external: ["react", "react-dom", "react/jsx-runtime"],
    write: false,
  });
  const name = `${SNIPPETS}run-${process.hrtime.bigint()}.mjs`;
  await writeFile(name, outputFiles[0].text.replaceAll(ADDRESS, server.url));
  return import(name);
}

/** What each runnable block writes to the console, in the order of the page. */
const WRITTEN = [["guest hello"], [], ["2", "3", "hello", "hello"]];

test("every block that runs is known here", () => assert.equal(RUNNABLE.length, WRITTEN.length));

for (const [at, name] of RUNNABLE.entries()) {
  test(`${name} runs`, { timeout: 60_000 }, async (context) => {
    const lines = [];
    context.mock.method(console, "log", (...words) => lines.push(words.join(" ")));
    const { client } = await run(`export { client } from "./client.ts"; import "./${name}";`);
    client.close();
    assert.deepEqual(lines, WRITTEN[at]);
  });
}

test("the component shows the room, and its button writes", { timeout: 60_000 }, async () => {
  const { act, createElement } = await import("react");
  const { createRoot } = await import("react-dom/client");
  const { Chat, client } = await run(`export { Chat } from "./Room.tsx"; export { client } from "./client.ts";`);
  const container = document.createElement("div");
  document.body.append(container);
  const root = createRoot(container);
  const shows = async (what) => {
    while (!what.test(container.textContent)) await act(() => new Promise((resolve) => setTimeout(resolve, 10)));
  };
  await act(() => root.render(createElement(Chat)));
  await act(() => container.querySelector("button").click());
  await shows(/hello.*guest has just written/);
  await act(() => root.unmount());
  client.close();
});
