/** Bundles the page into dist/page: index.html and page.js, which has all that it needs in it. */

import { copyFile, mkdir, readdir, readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

import { forDecoding, modelId } from "./weights.mjs";

const here = (path) => new URL(path, import.meta.url).pathname;
const weights = here("../../weights");
const common = {
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  logLevel: "warning",
  logOverride: { "empty-import-meta": "silent" }, // the module knows no address here, and needs none
};

/** A module whose text is made here. */
const made = (name, contents, options) => ({
  name,
  setup({ onLoad, onResolve }) {
    onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: name, namespace: name }));
    onLoad({ filter: /.*/, namespace: name }, () => ({ contents, ...options }));
  },
});

/** Files of a kind that are embedded as bytes, packed. */
const packed = (filter, prepared = (data) => data) => ({
  name: String(filter),
  setup({ onLoad }) {
    onLoad({ filter }, async ({ path }) => {
      const contents = gzipSync(prepared(await readFile(path)), { level: 9 });
      return { contents, loader: "binary" };
    });
  },
});

const files = (await readdir(weights)).filter((file) => /^photo-[^.]*\.safetensors$/.test(file));
const ids = await Promise.all(
  files.map(async (file) => modelId(await readFile(`${weights}/${file}`))),
);
const imports = files.map((file, n) => `import w${n} from "./${file}";`).join("\n");
const list = ids.map((id, n) => `{ modelId: "${id}", gzipped: w${n} }`).join(", ");
const shipped = `${imports}\nexport default [${list}];`;

const worker = await build({
  ...common,
  entryPoints: [here("worker.ts")],
  plugins: [
    made("shipped-weights", shipped, { resolveDir: weights }),
    packed(/\.safetensors$/, forDecoding),
    packed(/\.wasm$/),
  ],
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
