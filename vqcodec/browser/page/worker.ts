/** The page's worker: decodes one file after the other. */

import { env } from "#onnxruntime";
import runtime from "onnxruntime-web/ort-wasm-simd-threaded.wasm";
import shipped from "shipped-weights";

import {
  decodeTiles,
  loadWeights,
  type Picture,
  readWeights,
  type Size,
  VqcError,
  type Weights,
} from "../src/index.js";
import { onnx } from "../src/onnx.js";
import type { Answer, Request } from "./protocol.js";

env.wasm.numThreads = 1; // more take headers that no file has

const ready: Promise<Weights[]> = prepared();
let queue: Promise<void> = Promise.resolve();

async function prepared(): Promise<Weights[]> {
  env.wasm.wasmBinary = await unpacked(runtime);
  const read = shipped.map(async ({ modelId, gzipped }) =>
    readWeights(new Uint8Array(await unpacked(gzipped)), modelId),
  );
  const weights = await Promise.all(read);
  await compiled();
  return weights;
}

/** Have the runtime compiled by the time that a file comes. */
async function compiled(): Promise<void> {
  const [weight, bias] = [new Float32Array(1), new Float32Array(1)];
  const engine = onnx();
  await engine.run(
    [{ layer: { weight, bias, inputs: 1, outputs: 1, side: 1 } }],
    { data: new Float32Array(1), channels: 1, height: 1, width: 1 },
  );
  await engine.release();
}

function unpacked(gzipped: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const stream = new Blob([gzipped]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function tell(answer: Answer): void {
  const transfer: Transferable[] = [];
  if (answer.kind === "preview") transfer.push(answer.picture.data.buffer);
  if (answer.kind === "tile") transfer.push(answer.tile.data.buffer);
  self.postMessage(answer, { transfer });
}

async function answered({ number, name, data }: Request): Promise<void> {
  const own = { number, name };
  try {
    const weights = await ready;
    if (name.endsWith(".safetensors")) {
      const added = await loadWeights(data);
      weights.push(added);
      tell({ ...own, kind: "weights", modelId: added.modelId });
      return;
    }
    const options = {
      weights,
      engine: onnx,
      partial: true,
      preview: (picture: Picture, whole: Size) => tell({ ...own, kind: "preview", picture, whole }),
    };
    const about = await decodeTiles(data, options, (tile, whole) =>
      tell({ ...own, kind: "tile", tile, whole }),
    );
    tell({ ...own, kind: "done", about });
  } catch (error) {
    const message = error instanceof VqcError ? error.message : String(error);
    tell({ ...own, kind: "error", message });
  }
}

self.onmessage = ({ data }: MessageEvent<Request>) => {
  queue = queue.then(() => answered(data));
};
