/** What is shipped: the served copy is the source's, and small. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";
import { gzipSync } from "node:zlib";

import { bundle, SERVED } from "../scripts/build.mjs";

/** Compressed by gzip; what a page pays for. */
const MOST_BYTES = 5_000;

test("the copy that servers give to pages is built from these sources", async () => {
  const same = (await readFile(SERVED, "utf8")) === (await bundle({ minify: false }));
  assert.ok(same, "it is out of date: npm run build, in clients/js");
});

test("the core is below 5 kB", async (context) => {
  const minified = await bundle({ minify: true });
  const size = gzipSync(minified, { level: 9 }).length;
  context.diagnostic(`${minified.length} bytes minified, ${size} bytes compressed`);
  assert.ok(size < MOST_BYTES, `${size} bytes`);
});
