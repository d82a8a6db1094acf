/** Chains in onnxruntime-web, on the processor. */

import { InferenceSession, Tensor } from "#onnxruntime";

import type { Chain, Engine } from "./chain.js";
import { modelOf } from "./graph.js";

// Each session would keep for itself what it once took; and there is one for every layer.
const OPTIONS: InferenceSession.SessionOptions = {
  executionProviders: ["wasm"],
  enableCpuMemArena: false,
  enableMemPattern: false,
};

/** Return an engine that keeps the session of the chain that it computed last. */
export function onnx(): Engine {
  let kept: { chain: Chain; session: InferenceSession } | undefined;
  const release = async () => {
    await kept?.session.release();
    kept = undefined;
  };
  return {
    positions: 2 ** 18,
    run: async (chain, { data, channels, height, width }) => {
      if (kept?.chain !== chain) {
        await release();
        kept = { chain, session: await InferenceSession.create(modelOf(chain), OPTIONS) };
      }
      const x = new Tensor("float32", data, [1, channels, height, width]);
      const { y } = await kept.session.run({ x });
      const outputs = chain.at(-1)!.layer.outputs;
      return { data: y.data as Float32Array, channels: outputs, height, width };
    },
    release,
  };
}
