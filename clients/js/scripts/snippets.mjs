/**
 * The code of docs/javascript.md and docs/react.md as files in build/snippets, where the type test compiles it and
 * docs.test.js runs it.
 *
 *     node scripts/snippets.mjs
 *
 * A fence such as ```ts client.ts names its file; a block without a name gets one of its place on the page. The first
 * Python block is the app. Each page has a directory.
 */

import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

const PAGES = ["javascript", "react"];
const DOCS = new URL("../../../docs/", import.meta.url);
const SNIPPETS = fileURLToPath(new URL("../build/snippets/", import.meta.url));
const BLOCK = /^```(python|ts|tsx)(?: (\S+))?\n(.*?)^```$/gms;

/** Where the files of a page are. */
export const directoryOf = (page) => `${SNIPPETS}${page}/`;

/** Writes the files of a page, and gives the names of those that are to be run. */
export async function writeSnippets(page) {
  const directory = directoryOf(page);
  const text = await readFile(new URL(`${page}.md`, DOCS), "utf8");
  await rm(directory, { recursive: true, force: true });
  const runnable = [];
  for (const [at, [, language, given, code]] of [...text.matchAll(BLOCK)].entries()) {
    const named = given === undefined || given === "runnable" ? `block-${at + 1}.${language}` : given;
    const name = language === "python" ? "app.py" : named;
    if (language !== "python" && given === "runnable") runnable.push(name);
    await mkdir(dirname(directory + name), { recursive: true });
    await writeFile(directory + name, code);
  }
  return runnable;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await rm(SNIPPETS, { recursive: true, force: true });
  for (const page of PAGES) await writeSnippets(page);
}
