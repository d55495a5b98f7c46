/**
 * The code of docs/javascript.md as files in build/snippets, where the type test compiles it and docs.test.js runs it.
 *
 *     node scripts/snippets.mjs
 *
 * A fence such as ```ts client.ts names its file; a block without a name gets one of its place on the page. The first
 * Python block is the app.
 */

import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const PAGE = new URL("../../../docs/javascript.md", import.meta.url);
export const SNIPPETS = fileURLToPath(new URL("../build/snippets/", import.meta.url));
const BLOCK = /^```(python|ts|tsx)(?: (\S+))?\n(.*?)^```$/gms;

/** Writes the files, and gives the names of those that are to be run. */
export async function writeSnippets() {
  await rm(SNIPPETS, { recursive: true, force: true });
  await mkdir(SNIPPETS, { recursive: true });
  const runnable = [];
  for (const [at, [, language, given, code]] of [...(await readFile(PAGE, "utf8")).matchAll(BLOCK)].entries()) {
    const named = given === undefined || given === "runnable" ? `block-${at + 1}.${language}` : given;
    const name = language === "python" ? "app.py" : named;
    if (given === "runnable") runnable.push(name);
    await writeFile(`${SNIPPETS}${name}`, code);
  }
  return runnable;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await writeSnippets();
