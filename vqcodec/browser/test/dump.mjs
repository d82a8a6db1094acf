/**
 * What the decoder makes of files, for tests/test_browser.py: a line of JSON for each.
 *
 * node test/dump.mjs plain|onnx TILE whole|partial WEIGHTS OUT FILE…
 *
 * Pixels go to OUT/NAME.rgba, those of a preview to OUT/NAME.preview.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

import { decode, indices, loadWeights, plain, VqcError } from "../dist/index.js";
import { onnx } from "../dist/onnx.js";

const [engine, tileSide, extent, weightsFile, out, ...files] = process.argv.slice(2);
const options = {
  weights: await loadWeights(readFileSync(weightsFile)),
  engine: { plain, onnx }[engine],
  tileSide: Number(tileSide),
  partial: extent === "partial",
};

for (const file of files) {
  const data = readFileSync(file);
  const path = join(out, basename(file, ".vqc"));
  const told = { file };
  try {
    told.indices = indices(data, options).map((level) => level.map((group) => Array.from(group)));
    const preview = (picture) => {
      told.preview = [picture.width, picture.height];
      writeFileSync(`${path}.preview`, picture.data);
    };
    const { data: pixels, icc, exif, xmp, ...rest } = await decode(data, { ...options, preview });
    writeFileSync(`${path}.rgba`, pixels);
    const chunks = Object.entries({ icc, exif, xmp }).filter(([, bytes]) => bytes);
    told.chunks = chunks.map(([name, bytes]) => [name, Buffer.from(bytes).toString("hex")]);
    Object.assign(told, rest);
  } catch (error) {
    if (!(error instanceof VqcError)) throw error;
    told.error = error.code;
  }
  console.log(JSON.stringify(told));
}
