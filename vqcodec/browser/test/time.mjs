/**
 * How long decoding a file takes on onnxruntime, in seconds, for benchmarks/browser.py.
 *
 * node test/time.mjs THREADS ROUNDS WEIGHTS FILE
 *
 * A line of JSON a round: `decode`, and `entropy`, which reading the indices takes of it. The first
 * round has loading and compiling in it.
 */

import { readFileSync } from "node:fs";

import { env } from "#onnxruntime";

import { decode, indices, loadWeights } from "../dist/index.js";
import { onnx } from "../dist/onnx.js";

const [threads, rounds, weightsFile, file] = process.argv.slice(2);
env.wasm.numThreads = Number(threads);
const data = readFileSync(file);
const weights = await loadWeights(readFileSync(weightsFile));

async function seconds(work) {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

for (let round = 0; round < Number(rounds); round++) {
  const whole = await seconds(() => decode(data, { weights, engine: onnx }));
  const entropy = await seconds(() => indices(data, { weights }));
  console.log(JSON.stringify({ decode: whole, entropy }));
}
process.exit(0); // the threads of onnxruntime would stay
