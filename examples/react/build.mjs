/**
 * Bundles each page and puts it beside its app, whose server then gives it as `/react/`.
 *
 *     node build.mjs            once, minified
 *     node build.mjs --watch    again after every change, with React's development build
 */

import { context } from "esbuild";

const PAGES = ["chat", "draw"];
const watch = process.argv.includes("--watch");
const mode = watch ? "development" : (process.env.NODE_ENV ?? "production");

const building = await context({
  absWorkingDir: import.meta.dirname,
  entryPoints: PAGES.flatMap((page) => [
    { in: `${page}/page.tsx`, out: `${page}/react/page` },
    { in: `${page}/index.html`, out: `${page}/react/index` },
  ]),
  outdir: "..",
  bundle: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  loader: { ".html": "copy" },
  minify: mode === "production",
  define: { "process.env.NODE_ENV": JSON.stringify(mode) },
  logLevel: "info",
});

if (watch) {
  await building.watch();
} else {
  await building.rebuild();
  await building.dispose();
}
