/**
 * Bundles the client into one file for pages: the copy that `zocket serve` and `zocket dev` give to every page as
 * /zocket.js, and a minified one in dist/.
 *
 *     node scripts/build.mjs
 */

import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const ROOT = new URL("..", import.meta.url);
/** The copy inside the Python package; committed, because that is installed without Node. */
export const SERVED = new URL("../../src/zocket/dev/static/zocket.js", ROOT);
const MINIFIED = new URL("dist/zocket.min.js", ROOT);
const BANNER = `/**
 * Zocket in the browser: call actors, hear their events, watch their state. Built from clients/js/src; docs/javascript.md
 * says how to use it.
 */`;

/** The text of the client as one module. */
export async function bundle({ minify }) {
  const { outputFiles } = await build({
    absWorkingDir: fileURLToPath(ROOT),
    entryPoints: ["src/index.ts"],
    bundle: true,
    format: "esm",
    target: "es2022",
    minify,
    banner: { js: minify ? "" : BANNER },
    write: false,
  });
  return outputFiles[0].text;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await writeFile(SERVED, await bundle({ minify: false }));
  await writeFile(MINIFIED, await bundle({ minify: true }));
}
