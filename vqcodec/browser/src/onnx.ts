/** Chains in onnxruntime-web, on the processor. */

import { InferenceSession, Tensor } from "#onnxruntime";

import type { Chain, Engine } from "./chain.js";
import { modelOf } from "./graph.js";

// Each session would keep for itself what it once took; and there is one for every chain.
const OPTIONS: InferenceSession.SessionOptions = {
  executionProviders: ["wasm"],
  enableCpuMemArena: false,
  enableMemPattern: false,
};

/** Return an engine that keeps the session of every chain until it is released. */
export function onnx(): Engine {
  const sessions = new Map<Chain, InferenceSession>();
  return {
    run: async (chain, { data, channels, height, width }) => {
      const session = sessions.get(chain) ?? (await InferenceSession.create(modelOf(chain), OPTIONS));
      sessions.set(chain, session);
      const x = new Tensor("float32", data, [1, channels, height, width]);
      const { y } = await session.run({ x });
      const outputs = chain.at(-1)!.layer.outputs;
      return { data: y.data as Float32Array, channels: outputs, height, width };
    },
    release: async () => {
      for (const session of sessions.values()) await session.release();
      sessions.clear();
    },
  };
}
