/** Bundles the page into dist/page: index.html and page.js, which has all that it needs in it. */

import { copyFile, mkdir, readdir } from "node:fs/promises";

import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url).pathname;
const weights = here("../../weights");
const common = {
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  logLevel: "warning",
  logOverride: { "empty-import-meta": "silent" }, // the module knows no address here, and needs none
  loader: { ".wasm": "binary", ".safetensors": "binary" },
};

/** A module whose text is made here. */
const made = (name, contents, options) => ({
  name,
  setup({ onLoad, onResolve }) {
    onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: name, namespace: name }));
    onLoad({ filter: /.*/, namespace: name }, () => ({ contents, ...options }));
  },
});

const files = (await readdir(weights)).filter((file) => /^photo-.*\.safetensors$/.test(file));
const imports = files.map((file, n) => `import w${n} from "./${file}";`).join("\n");
const list = `${imports}\nexport default [${files.map((_, n) => `w${n}`)}];`;

const worker = await build({
  ...common,
  entryPoints: [here("worker.ts")],
  plugins: [made("shipped-weights", list, { resolveDir: weights })],
  write: false,
});
await mkdir(here("../dist/page"), { recursive: true });
await build({
  ...common,
  entryPoints: [here("page.ts")],
  plugins: [made("worker-source", worker.outputFiles[0].text, { loader: "text" })],
  outfile: here("../dist/page/page.js"),
});
await copyFile(here("index.html"), here("../dist/page/index.html"));
