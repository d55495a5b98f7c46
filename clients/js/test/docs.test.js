/** The code of docs/javascript.md, run against the app of that page; `tsc -p test` has compiled it. */

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import test, { after, before } from "node:test";

import { build } from "esbuild";
import WebSocket from "ws";

import { directoryOf, writeSnippets } from "../scripts/snippets.mjs";
import { serve } from "./serving.js";

const ADDRESS = "ws://localhost:8000";
const SNIPPETS = directoryOf("javascript");
const RUNNABLE = await writeSnippets("javascript");
globalThis.WebSocket = WebSocket;
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
