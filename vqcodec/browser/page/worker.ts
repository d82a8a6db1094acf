/** The page's worker: decodes one file after the other. */

import { env } from "#onnxruntime";
import runtime from "onnxruntime-web/ort-wasm-simd-threaded.wasm";
import shipped from "shipped-weights";

import { decode, loadWeights, type Picture, VqcError, type Weights } from "../src/index.js";
import { onnx } from "../src/onnx.js";
import type { Answer, Request, Size } from "./protocol.js";

env.wasm.wasmBinary = runtime;
env.wasm.numThreads = 1; // more take headers that no file has

const known: Promise<Weights[]> = Promise.all(shipped.map(loadWeights));
let queue: Promise<void> = Promise.resolve();

function tell(answer: Answer): void {
  const transfer = "picture" in answer ? [answer.picture.data.buffer] : [];
  self.postMessage(answer, { transfer });
}

async function answered({ number, name, data }: Request): Promise<void> {
  const weights = await known;
  try {
    if (name.endsWith(".safetensors")) {
      const own = await loadWeights(data);
      weights.push(own);
      tell({ number, name, kind: "weights", modelId: own.modelId });
      return;
    }
    const preview = (picture: Picture, { width, height }: Size) =>
      tell({ number, name, kind: "preview", picture, whole: { width, height } });
    const picture = await decode(data, { weights, engine: onnx, partial: true, preview });
    const { width, height } = picture;
    tell({ number, name, kind: "picture", picture, whole: { width, height } });
  } catch (error) {
    const message = error instanceof VqcError ? error.message : String(error);
    tell({ number, name, kind: "error", message });
  }
}

self.onmessage = ({ data }: MessageEvent<Request>) => {
  queue = queue.then(() => answered(data));
};
